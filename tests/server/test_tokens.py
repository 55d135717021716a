"""Whose token it is, and whose it is not."""

import base64
import hashlib
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tfllm.errors import ConfigError, PermissionDenied, Unauthenticated
from tfllm.server.tokens import Caller, JwtVerifier, TokenFile, authenticate


def digest(token):
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tokens.toml"
    path.write_text(
        f'[billing]\nsha256 = "{digest("one")}"\nmodels = ["toy"]\n[root]\nsha256 = "{digest("two")}"\n'
        'models = ["*"]\nadmin = true\n'
    )
    return path


def test_tokens_of_a_file(file):
    tokens = TokenFile(file)
    assert tokens("one") == Caller("billing", frozenset(["toy"]))
    assert tokens("two") == Caller("root", frozenset(["*"]), admin=True)
    assert tokens("three") is tokens("") is tokens("\udcff") is None


def test_rights():
    Caller("a", frozenset(["toy"])).require("toy")
    Caller("a", frozenset(["*"]), admin=True).require_admin()
    with pytest.raises(PermissionDenied, match="Caller 'a' may not use this model."):
        Caller("a", frozenset(["toy"])).require("other")
    with pytest.raises(PermissionDenied):
        Caller("a", frozenset(["*"])).require_admin()


@pytest.fixture
def pass_time(monkeypatch):
    """Return what makes a second pass, so that files are looked at again."""
    later = time.monotonic()

    def call():
        nonlocal later
        later += 2
        monkeypatch.setattr(time, "monotonic", lambda: later)

    return call


def test_a_file_that_changes(file, pass_time, caplog):
    tokens = TokenFile(file)
    file.write_text(f'[new]\nsha256 = "{digest("four")}"\n')
    pass_time()
    assert tokens("four") == Caller("new") and tokens("one") is None
    file.write_text("this is no TOML")
    pass_time()
    assert tokens("four") == Caller("new")
    assert "The tokens stay as they were" in caplog.text
    file.unlink()
    pass_time()
    assert tokens("four") == Caller("new")


@pytest.mark.parametrize(
    "text",
    [
        "[a]\nsha256 = 'abc'",
        "[a]\nmodels = []",
        "[a]\nsha256 = '%s'\nmodels = 'toy'" % ("0" * 64),
        "a = 1",
        "[a",
        "[a]\nsha256 = '%s'\ntoken = 'plain'" % ("0" * 64),
    ],
)
def test_files_that_cannot_be_right(tmp_path, text):
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        TokenFile(path)


def test_authorization(file):
    def ask(text):
        return authenticate({"authorization": text}, [TokenFile(file)])

    assert ask("Bearer one").name == ask("bearer  one ").name == "billing"
    for wrong in ("", "one", "Basic one", "Bearer", "Bearer "):
        with pytest.raises(Unauthenticated, match="Expected a token"):
            ask(wrong)
    with pytest.raises(Unauthenticated, match="^The token is not valid"):
        ask("Bearer three")


@pytest.fixture(scope="module")
def key():
    return ec.generate_private_key(ec.SECP256R1())


def key_set(**keys):
    """Return the text of a JWKS file, with a key for each `kid`."""
    public = {kid: json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())) for kid, key in keys.items()}
    return json.dumps(
        {"keys": [{**fields, "kid": kid, "alg": "ES256", "use": "sig"} for kid, fields in public.items()]}
    )


@pytest.fixture
def jwks(key, tmp_path):
    path = tmp_path / "jwks.json"
    path.write_text(key_set(**{"1": key}))
    return path


def sign(key, kid="1", algorithm="ES256", **claims):
    claims = {"sub": "ana", "exp": time.time() + 60, **claims}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


def test_signed_tokens(key, jwks):
    verify = JwtVerifier(jwks)
    assert verify(sign(key)) == Caller("ana")
    token = sign(key, models=["toy", "other"], admin=True, aud="anything")
    assert verify(token) == verify(token) == Caller("ana", frozenset(["toy", "other"]), admin=True)
    assert verify(sign(key, models="toy other")).models == {"toy", "other"}
    assert verify(sign(key, models=[1])).models == frozenset()
    assert verify(sign(key, admin="yes")).admin is False


def test_signed_tokens_that_do_not_hold(key, jwks):
    verify = JwtVerifier(jwks, audience="tfllm", issuer="us")
    good = {"aud": "tfllm", "iss": "us"}
    assert verify(sign(key, **good)).name == "ana"
    other = ec.generate_private_key(ec.SECP256R1())
    for token in (
        sign(other, **good),
        sign(key, kid="2", **good),
        sign(key, aud="tfllm"),
        sign(key, iss="us"),
        sign(key, aud="other", iss="us"),
        sign(key, aud="tfllm", iss="them"),
        sign(key, **good, exp=time.time() - 10),
        sign(key, **good, nbf=time.time() + 100),
        jwt.encode({"sub": "ana", **good}, key, algorithm="ES256", headers={"kid": "1"}),
        jwt.encode({"sub": "ana", "exp": time.time() + 60, **good}, None, algorithm="none", headers={"kid": "1"}),
        sign(b"k" * 64, algorithm="HS256", **good),
        "no.token.at-all",
        "\udcff",
        "\udcff.\udcff.\udcff",
        base64.urlsafe_b64encode(b"[" * 3000).decode() + ".e30.e30",
        "",
    ):
        assert verify(token) is None


def test_keys_that_change(key, jwks, pass_time, caplog):
    verify = JwtVerifier(jwks)
    new = ec.generate_private_key(ec.SECP256R1())
    old_token, new_token = sign(key), sign(new, kid="2")
    assert verify(old_token) == Caller("ana") and verify(new_token) is None
    jwks.write_text(key_set(**{"1": key, "2": new}))
    pass_time()
    assert verify(old_token) == verify(new_token) == Caller("ana")
    jwks.write_text(key_set(**{"2": new}))
    pass_time()
    assert verify(old_token) is None  # though it was remembered
    assert verify(new_token) == Caller("ana")
    jwks.write_text(key_set(**{"2": key}))  # another key of the same name
    pass_time()
    assert verify(new_token) is None and verify(sign(key, kid="2")) == Caller("ana")
    jwks.write_text("this is no key")
    pass_time()
    assert verify(sign(key, kid="2")) == Caller("ana")
    assert "The tokens stay as they were: Expected a JWKS file." in caplog.text


def test_a_remembered_token_ends_too(key, jwks):
    verify = JwtVerifier(jwks)
    token = sign(key, exp=time.time() + 1.5)
    assert verify(token) is not None
    end = time.monotonic() + 10
    while verify(token) is not None and time.monotonic() < end:
        time.sleep(0.1)
    assert verify(token) is None


def test_key_files_that_cannot_be_right(tmp_path):
    path = tmp_path / "jwks.json"
    for text in ("", "[]", '{"keys": []}', '{"keys": [{"kty": "none"}]}'):
        path.write_text(text)
        with pytest.raises(ConfigError, match="Expected a JWKS file"):
            JwtVerifier(path)

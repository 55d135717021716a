"""Make what compose.yaml needs for TLS and tokens: an authority, a server certificate, a signing key and a token.

    pip install cryptography pyjwt
    python serving/make_credentials.py serving/credentials --host localhost --host 127.0.0.1 --days 90

It is for a first start and for tests: in production the certificate comes from your authority and the tokens from your
identity provider, whose keys go into jwks.json. Files that are there stay, so a second call renews nothing by accident;
delete the folder to start anew, or take --token-only for one more token.

ca.pem                     what clients trust
server.pem, server.key     what Envoy shows
signing.key, jwks.json     what tokens are signed with, and the public half that Envoy checks them against
token                      one token, for the caller named by --caller
"""

import argparse
import datetime
import ipaddress
import json
import os
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ISSUER, AUDIENCE, KEY_ID = "tfllm", "tfllm-serving", "tfllm-1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", action="append", help="a name or address of the server; localhost if none is given")
    parser.add_argument("--days", type=int, default=90, help="how long certificate and token are good")
    parser.add_argument("--caller", default="first-caller", help="who the token is for")
    parser.add_argument("--token-only", action="store_true", help="print one more token, change nothing")
    given = parser.parse_args()
    if given.token_only:
        print(make_token(load_key(given.folder / "signing.key"), given.caller, given.days))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    if any(given.folder.iterdir()):
        parser.error(f"Expected an empty folder. Received: '{given.folder}'. Delete it to start anew.")
    make_certificates(given.folder, given.host or ["localhost", "127.0.0.1"], given.days)
    signing = ec.generate_private_key(ec.SECP256R1())
    write(given.folder / "signing.key", private_pem(signing), secret=True)
    write(given.folder / "jwks.json", json.dumps({"keys": [public_jwk(signing)]}, indent=1).encode() + b"\n")
    write(given.folder / "token", make_token(signing, given.caller, given.days).encode(), secret=True)
    print(f"Wrote {', '.join(sorted(file.name for file in given.folder.iterdir()))} in {given.folder}.")


def make_certificates(folder: Path, hosts: list[str], days: int) -> None:
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tfllm serving authority")])
    server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    names = [alternative_name(host) for host in hosts]
    root = (
        certificate(authority, authority, authority_key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        certificate(server, authority, server_key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    write(folder / "ca.pem", root.public_bytes(serialization.Encoding.PEM))
    write(folder / "server.pem", leaf.public_bytes(serialization.Encoding.PEM))
    # Envoy runs as a user of its own in its container and must be able to read the key through the mount.
    write(folder / "server.key", private_pem(server_key))


def certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def alternative_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def make_token(key: ec.EllipticCurvePrivateKey, caller: str, days: int) -> str:
    now = datetime.datetime.now(datetime.UTC)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": caller, "iat": now, "exp": now + datetime.timedelta(days=days)}
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": KEY_ID})


def public_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, object]:
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**public, "kid": KEY_ID, "use": "sig", "alg": "ES256"}


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    return serialization.load_pem_private_key(path.read_bytes(), None)  # type: ignore[return-value]


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write(path: Path, content: bytes, *, secret: bool = False) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644), "wb") as file:
        file.write(content)


if __name__ == "__main__":
    main()

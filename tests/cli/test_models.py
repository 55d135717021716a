"""`tfllm models` on a folder of versions that were written without TensorFlow."""

import json

import pytest
from click.testing import CliRunner

from tfllm import repository
from tfllm.cli import cli
from tfllm.errors import RepositoryError, VersionNotFound
from tfllm.repository_labels import CONFIG_FILE, LABELS_FILE, read_labels

CONTRACT = {"task": "TextClassifier", "evaluation": {"accuracy": 0.91234}, "created": "2026-01-02T03:04:05+00:00"}


@pytest.fixture
def root(tmp_path):
    """Three versions: one with a graph alone, one with a contract, one with a contract and a model card."""
    for number in (1, 2, 3):
        with repository.publish(tmp_path / "models" / "reviews") as publication:
            (publication.folder / "saved_model.pb").write_bytes(b"graph %d" % number)
            if number > 1:
                contract = publication.folder / repository.CONTRACT_FILE
                contract.parent.mkdir()
                contract.write_text(json.dumps(CONTRACT))
            if number > 2:
                (publication.folder / "README.md").write_text("# reviews\n\nIt finds übles.\n", "utf-8")
    return tmp_path / "models"


@pytest.fixture
def models(root):
    """A function that runs `tfllm models` on the folder; an error of tfllm comes out as it is."""

    def run(*arguments):
        command = ["models", *map(str, arguments), "--root", str(root)]
        return CliRunner().invoke(cli, command, catch_exceptions=False)

    return run


def versions_of(base):
    return [version.version for version in repository.list_versions(base)]


def test_describe_shows_the_card_of_the_newest_or_what_there_is(models):
    assert models("describe", "reviews").stdout == "# reviews\n\nIt finds übles.\n\n"
    facts = [line.split() for line in models("describe", "reviews", "--version", 2).stdout.splitlines()]
    assert ["version", "2"] in facts and ["accuracy", "0.9123"] in facts and ["created", CONTRACT["created"]] in facts
    assert "unknown" in models("describe", "reviews", "--version", 1).stdout


def test_describe_gives_the_contract_as_json(models):
    assert json.loads(models("describe", "reviews", "--json").stdout) == CONTRACT
    plain = json.loads(models("describe", "reviews", "--version", 1, "--json").stdout)
    assert (plain["name"], plain["version"], plain["task"]) == ("reviews", 1, "unknown")


def test_label_names_a_version_or_the_newest(models, root):
    result = models("label", "reviews", "stable", 2)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Labels of 'reviews': stable = 2\n")
    assert models("label", "reviews", "canary").stderr == "Labels of 'reviews': stable = 2, canary = 3\n"
    assert read_labels(root / "reviews") == {"stable": 2, "canary": 3}
    assert 'version_labels { key: "canary" value: 3 }' in (root / CONFIG_FILE).read_text()
    assert json.loads(models("describe", "reviews", "--version", 1, "--json").stdout)["labels"] == ""
    models("label", "reviews", "stable", "--remove")
    assert models("label", "reviews", "canary", "--remove").stderr == "Labels of 'reviews': none\n"
    assert read_labels(root / "reviews") == {} and "version_labels" not in (root / CONFIG_FILE).read_text()


def test_a_label_for_no_version_changes_nothing(models, root):
    with pytest.raises(VersionNotFound, match=r"Expected version 9 .*Available: 1, 2, 3\."):
        models("label", "reviews", "stable", 9)
    with pytest.raises(VersionNotFound, match="Expected version 0"):
        models("label", "reviews", "stable", 0)
    assert models("label", "reviews", "stable", "new").exit_code == 2
    assert models("label", "reviews", "stable", 1, "--remove").exit_code == 2
    assert not (root / "reviews" / LABELS_FILE).exists() and not (root / CONFIG_FILE).exists()


def test_rollback_gives_a_label_back(models, root):
    for version in (1, 3):
        models("label", "reviews", "stable", version)
    assert models("rollback", "reviews").stderr == "'stable' of 'reviews' is version 1 again.\n"
    assert 'version_labels { key: "stable" value: 1 }' in (root / CONFIG_FILE).read_text()
    models("label", "reviews", "canary", 2)
    assert models("rollback", "reviews", "--label", "canary").stderr == "'canary' of 'reviews' is version 1 again.\n"
    assert read_labels(root / "reviews") == {"stable": 1, "canary": 1}


def test_rollback_of_a_label_that_nothing_has(models, root):
    models("label", "reviews", "stable", 2)
    with pytest.raises(RepositoryError, match="labelled 'canary'"):
        models("rollback", "reviews", "--label", "canary")
    assert read_labels(root / "reviews") == {"stable": 2}


def test_prune_keeps_the_newest_and_the_labelled(models, root):
    assert models("prune", "reviews").stderr == "Removed: none\n"
    models("label", "reviews", "stable", 1)
    assert models("prune", "reviews", "--keep", 1).stderr == "Removed: 2\n"
    assert versions_of(root / "reviews") == [1, 3]
    assert "versions: 1 versions: 3" in (root / CONFIG_FILE).read_text()


def test_copy_gives_the_next_number_in_the_other_folder(models, root, tmp_path):
    target = tmp_path / "backup" / "reviews"
    assert models("copy", "reviews", target).stderr == f"Copied to {target / '1'}.\n"
    assert models("copy", "reviews", target, "--version", 1).stderr == f"Copied to {target / '2'}.\n"
    assert [(target / name / "saved_model.pb").read_bytes() for name in "12"] == [b"graph 3", b"graph 1"]
    assert json.loads((target / "1" / repository.CONTRACT_FILE).read_text()) == CONTRACT
    assert versions_of(target) == [1, 2] and versions_of(root / "reviews") == [1, 2, 3]


@pytest.mark.parametrize(
    "verb", [["label", "nope", "stable", "--remove"], ["label", "nope", "stable"], ["prune", "nope"]]
)
def test_a_model_that_is_not_there_is_named(models, root, verb):
    with pytest.raises(VersionNotFound, match="nope"):
        models(*verb)
    assert not (root / "nope").exists()


def test_a_label_that_nothing_has_cannot_be_taken_away(models):
    models("label", "reviews", "stable", 1)
    with pytest.raises(RepositoryError, match=r"Received: 'ghost'\. Available: \{'stable': 1\}"):
        models("label", "reviews", "ghost", "--remove")


def test_the_models_of_an_address(models, root, tmp_path):
    pytest.importorskip("upath")
    address = f"memory://{tmp_path.name}/models"

    def there(*arguments):
        return CliRunner().invoke(cli, ["models", *arguments, "--root", address], catch_exceptions=False)

    for version in (1, 2, 3):
        copied = models("copy", "reviews", f"{address}/reviews", "--version", version)
        assert copied.stderr == f"Copied to {address}/reviews/{version}.\n"
    listed = CliRunner().invoke(cli, ["models", "list", address, "--json"], catch_exceptions=False)
    assert [(item["version"], item["task"]) for item in json.loads(listed.stdout)] == [
        (1, "unknown"),
        (2, "TextClassifier"),
        (3, "TextClassifier"),
    ]
    assert "finds übles" in there("describe", "reviews").stdout
    assert json.loads(there("describe", "reviews", "--version", "2", "--json").stdout) == CONTRACT
    assert there("label", "reviews", "stable", "1").stderr == "Labels of 'reviews': stable = 1\n"
    assert there("label", "reviews", "stable", "3").stderr == "Labels of 'reviews': stable = 3\n"
    assert there("rollback", "reviews").stderr == "'stable' of 'reviews' is version 1 again.\n"
    assert there("prune", "reviews", "--keep", "1").stderr == "Removed: 2\n"
    assert there("copy", "reviews", str(root / "reviews")).stderr == f"Copied to {root / 'reviews' / '4'}.\n"
    assert versions_of(root / "reviews") == [1, 2, 3, 4] and versions_of(f"{address}/reviews") == [1, 3]


@pytest.mark.parametrize("options", [[], ["--json"], ["--version", "1"]])
def test_an_address_that_fails_while_a_version_is_described_is_named(models, tmp_path, monkeypatch, options):
    pytest.importorskip("upath")
    fsspec = pytest.importorskip("fsspec")
    address = f"memory://{tmp_path.name}/models"
    for version in (1, 2, 3):
        models("copy", "reviews", f"{address}/reviews", "--version", version)
    files = type(fsspec.filesystem("memory"))
    read = files._open

    def failing(self, path, *arguments, **settings):
        if path.endswith(("README.md", "tfllm.json")):
            raise PermissionError("no key")
        return read(self, path, *arguments, **settings)

    monkeypatch.setattr(files, "_open", failing)
    with pytest.raises(RepositoryError, match=f"'{address}/reviews/[13]/.*PermissionError: no key"):
        CliRunner().invoke(cli, ["models", "describe", "reviews", *options, "--root", address], catch_exceptions=False)

"""A stranger's zoo is data: what is not as its index and its keys say is refused, and nothing of it is kept."""

import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from safetensors.torch import load_file, save_file

from benchmark.cli import main
from benchmark.utils.errors import UserError
from benchmark.utils.hashing import content_key
from benchmark.zoo import sources
from benchmark.zoo.index import INDEX
from benchmark.zoo.pull import index_of, missing, pull
from benchmark.zoo.push import push
from benchmark.zoo.sources import source


def stage_of(zoo):
    """The folder of the victim."""
    [path] = [path for path in zoo.glob("counters/*/poison.json") if path.stat().st_size > 2]
    return path.parent


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def sealed(zoo):
    """What somebody does who knows the format: all hashes and sizes follow the files again."""
    folder = stage_of(zoo)

    def describe(about):
        about["files"] = {path.name: [path.stat().st_size, sha256(path)] for path in folder.iterdir()
                          if path.name != "stage.json"}

    changed(folder / "stage.json", describe)
    changed(zoo / INDEX, lambda index: index["stages"][folder.name].update(
        files={path.name: {"size": path.stat().st_size, "sha256": sha256(path)} for path in folder.iterdir()}))


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refused(place, message, store):
    with pytest.raises(UserError, match=message) as error:
        found = source(str(place))
        pull(found, missing(index_of(found), store, None), store)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000
    kept = [path.stat().st_size for path in store.glob("counters/[0-9a-f]*/poison.json")]
    assert kept in ([], [2])  # the clean counter may have come before


# The index.

@pytest.mark.parametrize("change, message", [
    (lambda index: index.update(format=2), "format: Input should be 1"),
    (lambda index: index.update(run="rm"), "run: unknown key"),
    (lambda index: index["stages"].update({"../../x": {"kind": "counters", "title": "", "files": {}}}), "stages.*pattern"),
    (lambda index: index["stages"][min(index["stages"])].update(kind="../up"), "kind: Input should be 'counters' or"),
    (lambda index: index["stages"][min(index["stages"])].update(kind="counts"), "kind: Input should be 'counters' or"),
    (lambda index: index["stages"][min(index["stages"])]["files"].update({"../x.py": {"size": 1, "sha256": "0" * 64}}),
     "files.*Input should be 'stage.json'"),
    (lambda index: index["stages"][min(index["stages"])]["files"].update({"plugin.py": {"size": 1, "sha256": "0" * 64}}),
     "files.*Input should be 'stage.json'"),
    (lambda index: index["stages"][min(index["stages"])]["files"]["info.json"].update(size=-1), "size: .*greater than"),
    (lambda index: index["stages"][min(index["stages"])]["files"]["info.json"].update(size=1.5), "size: .*integer"),
    (lambda index: index["stages"][min(index["stages"])]["files"]["info.json"].update(size=10**15), "size: .*less than"),
    (lambda index: index["stages"][min(index["stages"])]["files"]["info.json"].update(sha256="00"), "sha256: .*pattern"),
    (lambda index: index["stages"][min(index["stages"])].update(title="\x1b[2J"), "title: .*pattern"),
    (lambda index: index["stages"][min(index["stages"])].update(title="x" * 10**5), "title: .*at most 300")])
def test_an_index_of_anything_else_is_refused(zoo, desk, change, message):
    changed(zoo / INDEX, change)
    refused(zoo, f"zoo .*: {INDEX}: .*{message}", desk / "store")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 10**5, b'{"format": NaN}', b"null"])
def test_what_is_no_index_is_refused(zoo, desk, content):
    (zoo / INDEX).write_bytes(content)
    refused(zoo, f"{INDEX}: .*expected a folder that `crowdbench zoo push` has written", desk / "store")


def test_a_folder_without_an_index_is_refused(desk):
    refused(desk, f"no file {INDEX}; expected a zoo", desk / "store")
    refused(desk / "nowhere", f"no file {INDEX}; expected a zoo", desk / "store")


# The stages. In those that are sealed, all sizes and hashes are right.

def test_a_file_that_is_not_as_the_index_says_is_refused(zoo, desk):
    path = stage_of(zoo) / "info.json"
    path.write_text(path.read_text().replace("0", "1"))
    refused(zoo, "info.json: the SHA-256 hash is .*; expected .*; nothing of it was kept", desk / "store")
    path.write_text(path.read_text() + " " * 10)
    refused(zoo, "info.json: more than .* bytes; nothing of it was kept", desk / "store")
    path.unlink()
    refused(zoo, "no file counters/.*/info.json", desk / "store")


@pytest.mark.parametrize("name, change, message", [
    ("stage.json", lambda about: about["facts"].update(seed=1), "stage.json: it describes the stage [0-9a-f]{20}"),
    ("stage.json", lambda about: about.update(facts=None), "stage.json: it describes the stage"),
    ("info.json", lambda info: info.update(weights_sha256="0" * 64), "info.json: weights_sha256: not the hash of"),
    ("info.json", lambda info: info.update(weights="a\nb"), "info.json: weights: .*pattern"),
    ("info.json", lambda info: info.update(weights=["x"]), "info.json: weights: .*string"),
    ("info.json", lambda info: info.update(seconds="long"), "info.json: seconds: .*number"),
    ("info.json", lambda info: info.update(poisoned=3), "info.json: poisoned: .*list"),
    ("info.json", lambda info: info.update(psnr=["loud"]), "info.json: psnr"),
    ("info.json", lambda info: info.clear(), "info.json: weights: Field required")])
def test_a_stage_that_is_not_what_its_key_says_is_refused(zoo, desk, name, change, message):
    changed(stage_of(zoo) / name, change)
    sealed(zoo)
    refused(zoo, f"counters/.*: {message}.*; nothing of it was kept", desk / "store")
    assert not [path for path in desk.glob("store/*/.*") if path.is_dir()]


FACTS = [({"model": 3}, "facts.model: Input should be a valid tuple"), ({"before": ["a"]}, "facts: Input should be a valid"),
         ({"model": ["tiny", 1, {}], "recipe": {"precision": 3}}, "facts.recipe.precision: .*string"),
         ({"model": ["tiny", 1]}, "facts.model.2: Field required")]


def with_facts(folder, facts, needs=()):
    """A stage that describes itself by other facts, under the key of these; its new folder."""
    changed(folder / "stage.json", lambda about: about.update(facts=facts, needs=needs))
    return folder.rename(folder.with_name(content_key(facts)))


@pytest.mark.parametrize("facts, message", FACTS)
@pytest.mark.parametrize("needs, first", [([], ""), (["../up"], "needs: expected keys of stages")])
def test_facts_that_no_run_writes_are_refused_in_a_zoo_and_in_a_store(trained, zoo, desk, facts, message, needs, first):
    old = stage_of(zoo).name
    folder = with_facts(stage_of(zoo), facts, needs)
    changed(zoo / INDEX, lambda index: index["stages"].update({folder.name: index["stages"].pop(old)}))
    sealed(zoo)
    refused(zoo, f"stage.json: {first or message}", desk / "store")
    store = shutil.copytree(trained.store, desk / "own")
    folder = with_facts(store / "counters" / old, facts, needs)
    record = trained.records[1].model_copy(update={"provenance": {"stages": {"victim": {"key": folder.name}}}})
    with pytest.raises(UserError, match=f"own/counters/{folder.name}: stage.json: {first or message}"):
        push([record], store, desk / "new")


def test_a_refused_stage_costs_no_checkpoint_of_a_killed_training(zoo, desk):
    folder = desk / "store" / "counters" / f".{stage_of(zoo).name}"
    folder.mkdir(parents=True)
    (folder / "checkpoint.safetensors").write_bytes(b"hours of work")
    changed(stage_of(zoo) / "info.json", lambda info: info.update(seconds="long"))
    sealed(zoo)
    refused(zoo, "seconds: .*number.*; nothing of it was kept", desk / "store")
    assert [path.name for path in folder.iterdir()] == ["checkpoint.safetensors"]


def test_a_stage_without_its_description_is_refused(zoo, desk):
    key = stage_of(zoo).name
    changed(zoo / INDEX, lambda index: index["stages"][key]["files"].pop("stage.json"))
    refused(zoo, "stage.json: expected the description of a finished stage", desk / "store")


def test_weights_of_another_network_are_refused_in_one_line_where_they_are_used(trained, zoo, desk, capsys):
    folder = stage_of(zoo)
    tensors = load_file(folder / "weights.safetensors")
    tensors[min(tensors)] = tensors[min(tensors)].new_zeros(3)
    save_file(tensors, folder / "weights.safetensors")
    changed(folder / "info.json", lambda info: info.update(weights_sha256=sha256(folder / "weights.safetensors")))
    sealed(zoo)
    assert main(["zoo", "pull", "zoo"]) == 0
    (desk / "grid.yaml").write_text(json.dumps(trained.request))
    assert main(["run", "grid.yaml"]) != 0
    told = capsys.readouterr().err
    assert "Traceback" not in told and "weights.safetensors: " in told and "size mismatch" in told


# Places.

@pytest.mark.parametrize("place, message", [
    ("file:///etc", "expected a folder, an address that begins with http"), ("ftp://host/x", "expected a folder, an addr"),
    ("http://", "expected an address with a host"), ("hf://x", "expected hf://OWNER/NAME"),
    ("hf://a/b/c", "expected hf://OWNER/NAME"), ("s3://bucket", "expected a folder, an address"),
    ("http://[abc/x", "Invalid IPv6 URL; expected an address of a server"), ("http://\u2100.com/x", "expected an address of"),
    ("http://host:port", "Port.*expected an address of a server"), (f"http://{70 * 'a'}.b/x", "expected a server"),
    ("~nosuchuser/zoo", "zoo ~nosuchuser/zoo: no such user; expected the path of a folder")])
def test_a_place_of_another_kind_is_refused(desk, place, message):
    refused(place, message, desk / "store")


class Handler(BaseHTTPRequestHandler):
    """A web server that knows ranges, and fails as its `failing` says."""

    failing = ""
    asked: list = []

    def do_GET(self):
        path = self.server.folder / self.path.strip("/")
        Handler.asked.append((self.path, self.headers.get("Range")))
        if self.failing == "redirects":
            self.send_response(302)
            self.send_header("Location", f"file://{self.server.folder / INDEX}")
            self.end_headers()
            return
        if not path.is_file():
            self.send_error(404)
            return
        content, begun = path.read_bytes(), 0
        if self.headers.get("Range") and self.failing != "knows no ranges":
            begun = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if begun >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if begun else 200)
        if self.failing == "sends more" and path.name != INDEX:
            content += bytes(10**6)
        self.send_header("Content-Length", str(len(content) - begun))
        self.end_headers()
        rest = content[begun:]
        broken = self.failing in ("breaks off", "knows no ranges") and path.suffix == ".safetensors" and not any(
            path.name in name for name, _ in Handler.asked[:-1])
        self.wfile.write(rest[:len(rest) // 2] if broken else rest)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(zoo, monkeypatch):
    """A real web server with the zoo."""
    monkeypatch.setattr(sources.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Handler, "failing", "")
    Handler.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.folder = zoo
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_zoo_is_pulled_from_a_web_server(server, desk):
    assert main(["zoo", "pull", server]) == 0
    assert main(["store", "verify"]) == 0 and len(list(desk.glob("runs/store/counters/[0-9a-f]*"))) == 2


@pytest.mark.parametrize("failing", ["breaks off", "knows no ranges"])
def test_a_download_that_breaks_off_goes_on_where_it_ended(server, desk, monkeypatch, failing):
    monkeypatch.setattr(Handler, "failing", failing)
    assert main(["zoo", "pull", server]) == 0
    ranges = [asked for path, asked in Handler.asked if asked]
    assert len(ranges) == 1 and int(ranges[0].removeprefix("bytes=").rstrip("-")) > 1000
    assert main(["store", "verify"]) == 0


def test_a_pull_that_was_killed_asks_only_for_the_rest(server, zoo, desk):
    assert main(["zoo", "pull", server]) == 0
    key = stage_of(zoo).name
    final = desk / "runs/store/counters" / key
    final.rename(final.with_name(f".{key}"))
    half = final.with_name(f".{key}")
    content = (half / "weights.safetensors").read_bytes()
    (half / "weights.safetensors").unlink()
    (half / ".weights.safetensors.part").write_bytes(content[:3000])
    (half / "checkpoint.safetensors").write_bytes(b"of a training that was killed")
    Handler.asked.clear()
    assert main(["zoo", "pull", server]) == 0
    assert [asked for asked in Handler.asked if INDEX not in asked[0]] == [
        (f"/counters/{key}/weights.safetensors", "bytes=3000-")]
    assert main(["store", "verify"]) == 0 and not (final / "checkpoint.safetensors").exists()


def test_a_part_that_is_as_long_as_the_file_is_asked_for_again(server, zoo, desk):
    part = desk / "runs/store/counters" / f".{stage_of(zoo).name}" / ".weights.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes((stage_of(zoo) / "weights.safetensors").stat().st_size))
    assert main(["zoo", "pull", server]) == 0 and main(["store", "verify"]) == 0


def test_a_server_that_sends_more_than_the_index_says_is_cut_off(server, desk, monkeypatch):
    monkeypatch.setattr(Handler, "failing", "sends more")
    refused(server, "more than .* bytes; nothing of it was kept", desk / "store")


def test_a_server_leads_nobody_to_a_local_file(server, desk, monkeypatch):
    monkeypatch.setattr(Handler, "failing", "redirects")
    refused(server, "zoo http://127.0.0.1.*", desk / "store")


def test_a_server_that_is_not_there_or_has_no_zoo_is_named(server, zoo, desk):
    shutil.rmtree(zoo)
    refused(server, f"zoo {server}: no file {INDEX}; expected a zoo", desk / "store")
    refused("http://127.0.0.1:9", "zoo http://127.0.0.1:9: index.json: .*refused.*; expected a server", desk / "store")
    refused("http://no.such.host.invalid", "index.json: .*; expected a server that can be reached", desk / "store")


def test_a_repository_is_asked_with_its_revision(zoo, desk, monkeypatch):
    import huggingface_hub

    asked = []

    def download(repository, file, revision):
        asked.append((repository, revision))
        if "gone" in repository:
            raise OSError("Repository Not Found\nfor url")
        return str(zoo / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert main(["zoo", "pull", "hf://owner/zoo@v1"]) == 0 and set(asked) == {("owner/zoo", "v1")}
    assert main(["store", "verify"]) == 0
    refused("hf://owner/gone", "zoo hf://owner/gone: index.json: OSError: Repository Not Found", desk / "store")

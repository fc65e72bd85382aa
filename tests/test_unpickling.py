"""The product never executes file contents: it loads no pickle and evaluates no text."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("engine", "gallery_db", "webapp", "notebooks", "benchmarks", "docker")
UNPICKLERS = frozenset("pickle cPickle _pickle dill cloudpickle joblib shelve marshal pandas hickle skops".split())
RUNNERS = frozenset(("eval", "exec", "compile"))
LOADERS = frozenset(
    ("torch.hub.load", "torch.package.PackageImporter", "yaml.load", "yaml.unsafe_load", "yaml.full_load")
)
ALLOWED = {  # place: the call found there, and why it is allowed
    ("engine/weights/checkpoint_reader.py", "import pickletools"): "lists what a pickle names without running it",
}


def find_dangers(source: str) -> Iterator[str]:
    """Every import and call by which a file could run code of its own."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"import {one.name}" for one in node.names if _is_unpickler(one.name))
        elif isinstance(node, ast.ImportFrom) and _is_unpickler(node.module or ""):
            yield f"from {node.module}"
        elif isinstance(node, ast.Call):
            yield from _find_in_call(node)


def _is_unpickler(module: str) -> bool:
    return module.partition(".")[0] in UNPICKLERS or module.startswith("pickletools")


def _find_in_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    keywords = {word.arg: word.value for word in call.keywords}
    for word, safe in (("allow_pickle", False), ("weights_only", True)):
        if word in keywords and not (isinstance(keywords[word], ast.Constant) and keywords[word].value is safe):
            yield f"{name}({word}={ast.unparse(keywords[word])})"
    if name.endswith("torch.load") and "weights_only" not in keywords:
        yield f"{name}() without weights_only"
    if name in RUNNERS or name in LOADERS or name.endswith((".read_pickle", ".Unpickler", ".hub.load")):
        yield f"{name}()"
    if None in keywords and name in ("np.load", "numpy.load", "torch.load"):
        yield f"{name}(**) hides what it is told"


def list_files() -> dict[str, str]:
    """Sources by name; of notebooks their code."""
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    sources = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in files}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        lines = "".join(line for cell in cells if cell["cell_type"] == "code" for line in [*cell["source"], "\n"])
        code = "\n".join(line for line in lines.splitlines() if not line.lstrip().startswith(("%", "!")))
        sources[path.relative_to(ROOT).as_posix()] = code
    return sources


def test_no_path_of_the_product_unpickles() -> None:
    sources = list_files()
    assert len(sources) > 150
    found = {(name, danger) for name, source in sources.items() for danger in find_dangers(source)}
    assert not found - set(ALLOWED)
    assert ("engine/weights/checkpoint_reader.py", "import pickletools") in found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "def f():\n    import dill.source",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=trusted)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, **options)",
        "torch.hub.load('a/b', 'c')",
        "yaml.load(text)",
        "eval(text)",
        "pandas.read_pickle(path)",
    ],
)
def test_check_detects_forbidden_examples(source: str) -> None:
    assert list(find_dangers(source))


@pytest.mark.parametrize(
    "source",
    [
        "np.load(path, allow_pickle=False)",
        "torch.load(path, weights_only=True)",
        "net.eval()",
        "re.compile('x')",
        "safetensors.torch.load_file(path)",
        "yaml.safe_load(text)",
    ],
)
def test_safe_code_passes_check(source: str) -> None:
    assert not list(find_dangers(source))

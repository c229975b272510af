"""What holds for the source as a whole: its layers, its public names, its size, what it never does."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import openankh

SOURCE = Path(openankh.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
TREES = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}

# Third parties have an address: the modules that may import them (a folder stands for all in it).
ADDRESSES = {
    "cyclopts": ("cli/",),
    "rich": ("cli/", "demo/", "pretraining/progress.py"),
    "matplotlib": (
        "demo/",
        "ablation/plot.py",
        "benchmarking/plot.py",
        "judging/figures.py",
        "scoring/heatmap.py",
        "tasks/pictures/",
    ),
    "sklearn": ("demo/",),
    "faiss": ("search/",),
    "h5py": ("store/", "demo/"),
    "pyarrow": (
        "store/",
        "fleet/part_rows.py",
        "fleet/ray_cluster.py",
        "tasks/parquet_table.py",
        "tasks/predicted_parquet.py",
    ),
    "parasail": ("design/alignment.py",),
    "pyhmmer": ("judging/",),
    "ray": ("fleet/ray_cluster.py",),
    "fsspec": ("fleet/url_folder.py",),
    "safetensors": ("store/", "checkpoint.py", "safetensors_file.py", "pretraining/", "serve/"),
    "tensorboardX": ("pretraining/tensorboard.py",),
    "huggingface_hub": ("hub.py", "hub_errors.py"),
    "zstandard": ("decompression.py",),
    "numba": ("int8/",),
    "fastapi": ("serve/",),
    "starlette": ("serve/",),
    "uvicorn": ("serve/",),
    "pydantic": ("serve/",),
    "orjson": ("serve/",),
    "prometheus_client": ("serve/",),
    "llvmlite": ("int8/",),
}
NEVER = ("transformers", "tokenizers", "sentencepiece", "pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib")
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "yaml.load", "os.system"}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is not None:
        docstring = node.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    return ((ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def imported_packages(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_importing_the_package_imports_no_third_party() -> None:
    code = (
        "import sys; before = set(sys.modules); import openankh\n"
        "heavy = {name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "assert heavy == {'openankh'}, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_are_frozen() -> None:
    assert sorted(openankh.__all__) == [
        "Corpus",
        "EmbeddingStore",
        "FastaReader",
        "LoadedModel",
        "Lookup",
        "ModelConfig",
        "Mutation",
        "ReadOptions",
        "Record",
        "UserError",
        "Vocab",
        "__version__",
        "load",
        "load_predictor",
        "open_store",
        "parse_mutations",
    ]


@pytest.mark.parametrize("name", sorted(openankh.__all__))
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(openankh, name)
    assert name == "__version__" or value.__doc__
    assert name in dir(openankh)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        openankh.nonsense  # noqa: B018


@pytest.mark.parametrize("module", TREES)
def test_every_module_says_in_one_sentence_what_it_is(module: str) -> None:
    docstring = ast.get_docstring(TREES[module])
    assert docstring, f"{module} has no docstring"
    opening = docstring.split("\n\n")[0]
    assert opening.endswith((".", ":")), f"{module}: {opening!r}"


@pytest.mark.parametrize("module", TREES)
def test_every_public_class_and_function_is_documented(module: str) -> None:
    definitions = [node for node in TREES[module].body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    bare = [node.name for node in definitions if not node.name.startswith("_") and not ast.get_docstring(node)]
    assert not bare


@pytest.mark.parametrize("module", TREES)
def test_nothing_is_evaluated_or_unpickled(module: str) -> None:
    tree = TREES[module]
    assert not set(NEVER) & set(imported_packages(tree))
    for name, call in calls(tree):
        assert name not in FORBIDDEN_CALLS, f"{module}:{call.lineno} calls {name}"
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert options.get("shell") != "True", f"{module}:{call.lineno} runs a shell"
        assert options.get("allow_pickle", "False") == "False", f"{module}:{call.lineno} allows pickles"
        if name == "torch.load":
            assert options.get("weights_only") == "True", f"{module}:{call.lineno} unpickles"


@pytest.mark.parametrize("module", TREES)
def test_third_parties_are_imported_only_at_their_address(module: str) -> None:
    for package in set(imported_packages(TREES[module])) & set(ADDRESSES):
        assert module.startswith(ADDRESSES[package]), (
            f"{module} imports {package}, which belongs to {ADDRESSES[package]}"
        )


@pytest.mark.parametrize("module", TREES)
def test_no_function_is_over_70_lines_and_no_file_over_400(module: str) -> None:
    too_long = {node.name: length(node) for node in functions(TREES[module]) if length(node) > 70}
    assert not too_long
    assert len((SOURCE / module).read_text(encoding="utf-8").splitlines()) <= 400


def test_functions_are_about_10_lines_and_at_most_one_in_ten_is_over_40() -> None:
    lengths = [length(node) for tree in TREES.values() for node in functions(tree)]
    assert statistics.median(lengths) <= 12
    assert sum(lines > 40 for lines in lengths) <= len(lengths) / 10


@pytest.mark.parametrize("module", TREES)
def test_modules_are_named_by_nouns_of_the_field(module: str) -> None:
    assert not {"utils", "common", "base", "core", "helpers", "misc", "v2"} & set(module.removesuffix(".py").split("/"))


def test_imports_only_go_down_the_house() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=SOURCE.parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

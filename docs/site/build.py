"""The pages of README and docs and the reference of the doors, as a folder of HTML that needs no network.

    python docs/site/build.py                        everything, into build/docs
    python docs/site/build.py --only loudness masks  the pages, and the reference of these doors alone

A door is a module beside the rooms of drawaudio_model, as in the README's map; a few of the pipelines are what extensions are
written against. The build fails with a list of what is wrong: a module that cannot be imported, a link to nothing, a name such as
`drawaudio_model.unet.DrawAudioUNet` or a file such as `docs/drawing.md` in a text that does not exist.
"""

import argparse
import ast
import importlib
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from pdoc.doc import Module

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "build" / "docs"
EXTENSION_DOORS = (
    "pipelines",
    "pipelines.profiles",
    "pipelines.clip_rows",
    "pipelines.sources.source",
    "pipelines.annotation.annotators",
)
"""Modules of the dataset builder that a source or an annotator of one's own is written against."""
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
"""Beside those of docs/; the first becomes index.html."""
_DOTTED = re.compile(r"(?<![\w./-])(?:drawaudio_model|pipelines)(?:\.[A-Za-z_]\w*)+(?!\w|\.\w)")
_FILE = re.compile(r"(?<![\w./<-])[\w-]+(?:/[\w.-]+)*\.(?:py|md)\b")
_HERE = re.compile(r'<a href="#([^"]+)">(.*?)</a>')
_HISTORY = "CHANGELOG.md"
"""Names what is no longer there."""


@dataclass(frozen=True)
class Page:
    """A page in Markdown.

    Attributes:
        source: file.
        name: the HTML file's name, such as "drawing.html".
        title: its first heading.
    """

    source: Path
    name: str
    title: str


def doors() -> list[str]:
    """Dotted names of all modules that the reference covers."""
    flat = sorted(path.stem for path in (ROOT / "drawaudio_model").glob("*.py") if path.stem != "__init__")
    return [*(f"drawaudio_model.{name}" for name in flat), "drawaudio_model.metrics", *EXTENSION_DOORS]


def pages() -> list[Page]:
    """README, the pages of docs/ by name, and what stands beside README."""
    first, *others = (ROOT / name for name in PAGES)
    sources = [first, *sorted((ROOT / "docs").glob("*.md")), *others]
    return [
        Page(path, "index.html" if path == first else f"{path.stem.lower()}.html", _title(path)) for path in sources
    ]


def build(output: Path, modules: Sequence[str]) -> list[str]:
    """Write the folder.

    Args:
        output: folder; what lay there is gone.
        modules: dotted names of the doors.

    Returns:
        One sentence for each thing that is wrong; none when all is well.
    """
    import pdoc.doc
    import pdoc.render

    faults: list[str] = []
    all_pages = pages()
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    pdoc.render.configure(docformat="google", show_source=False, template_directory=Path(__file__).parent)
    pdoc.render.env.globals["pages"] = all_pages
    loaded: dict[str, Module] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in modules:
            try:
                loaded[name] = pdoc.doc.Module.from_name(name)
            except RuntimeError as error:
                faults.append(f"{name} cannot be imported: {error.__cause__!r}")
        for name, module in loaded.items():
            path = output / f"{name.replace('.', '/')}.html"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_without_inherited(pdoc.render.html_module(module, loaded)), encoding="utf-8")
        (output / "search.js").write_text(pdoc.render.search_index(loaded), encoding="utf-8")
    # Fields of a NamedTuple under `from __future__ import annotations` are strings that pdoc does not resolve; it shows them.
    notes = (str(note.message) for note in caught if "pdoc" in Path(note.filename).parts)
    faults += [f"pdoc: {note}" for note in notes if "type annotation ForwardRef(" not in note]
    for page in all_pages:
        faults += _write_page(page, output, all_pages, loaded)
    for name in loaded:
        faults += wrong_names(_docstrings(name), name)
    return faults + broken_links(output)


def wrong_names(text: str, place: str) -> list[str]:
    """Faults: dotted names of our packages and files of the repository that a text names and that do not exist."""
    files, folders = _places()
    faults = []
    for name in sorted({*_DOTTED.findall(text)}):
        if not _resolves(name):
            faults.append(f"{place} names {name}, which does not exist")
    for name in sorted({*_FILE.findall(text)}):
        # A path that begins with no folder of ours is a file of another project.
        ours = "/" not in name or name.partition("/")[0] in folders
        if ours and not any(f"/{file}".endswith(f"/{name}") for file in files):
            faults.append(f"{place} names the file {name}, which does not exist")
    return faults


def broken_links(folder: Path) -> list[str]:
    """Faults: links and pictures of the folder's pages that lead to no file or no heading of it."""
    parsed: dict[Path, _Links] = {}
    for path in sorted(folder.rglob("*.html")):
        parsed[path] = _Links()
        parsed[path].feed(path.read_text(encoding="utf-8"))
    faults = []
    for path, page in parsed.items():
        for target in page.targets:
            place, _, anchor = unquote(target).partition("#")
            file = (path.parent / place).resolve() if place else path
            if not file.is_file():
                faults.append(f"{path.relative_to(folder)} links {target}, which is not there")
            elif anchor and anchor not in parsed.get(file, page).anchors:
                faults.append(f"{path.relative_to(folder)} links {target}, a heading that is not there")
    return faults


def _write_page(page: Page, output: Path, all_pages: Sequence[Page], loaded: Mapping[str, "Module"]) -> list[str]:
    import pdoc.render
    from pdoc.render_helpers import to_html

    text = page.source.read_text(encoding="utf-8")
    names = {each.source: each.name for each in all_pages}
    faults = [] if page.source.name == _HISTORY else wrong_names(_without_code(text), page.source.name)

    def target(match: re.Match[str]) -> str:
        path, hash_sign, anchor = match[1].partition("#")
        source = (page.source.parent / path).resolve()
        if source in names:
            return f"]({names[source]}{hash_sign}{anchor})"
        if source.is_file():
            shutil.copyfile(source, output / source.name)
            return f"]({source.name})"
        faults.append(f"{page.source.name} links {match[1]}, which is not there")
        return match[0]

    text = re.sub(r"\]\((?!https?://|#)([^)\s]+)\)", target, re.sub(r"^<!-- tested: .*? -->\n", "", text, flags=re.M))
    body = to_html(text)
    html = pdoc.render.env.get_template("page.html.jinja2").render(
        page=page, body=body, contents=getattr(body, "toc_html", ""), all_modules=loaded
    )
    (output / page.name).write_text(html, encoding="utf-8")
    return faults


class _Links(HTMLParser):
    """What a page links within the folder, and where in it a link may lead."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.anchors.add(str(values["id"]))
        link = values.get("href") if tag in ("a", "link") else values.get("src")
        if link and not re.match(r"[a-z]+:", link):
            self.targets.append(link)


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _without_code(text: str) -> str:
    return re.sub(r"^<!--.*?-->$|^```\w*\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


@cache
def _places() -> tuple[list[str], set[str]]:
    """Files of the repository, as paths from its root, and the names of its folders."""
    files: list[str] = []
    folders: set[str] = set()
    for folder, inside, names in os.walk(ROOT):
        # In place: os.walk then leaves the others out.
        inside[:] = [name for name in inside if not name.startswith(".") and name not in ("build", "data", "runs")]
        folders |= {*inside}
        files += [(Path(folder) / name).relative_to(ROOT).as_posix() for name in names]
    return files, folders


def _without_inherited(html: str) -> str:
    """A module's page whose links to what it inherits from other packages, and does not show, are plain text."""
    anchors = {*re.findall(r'\bid="([^"]+)"', html)}
    return _HERE.sub(lambda link: link[0] if link[1] in anchors else link[2], html)


def _resolves(name: str) -> bool:
    module, names = name, []
    while module:
        try:
            value = importlib.import_module(module)
        except ImportError:
            module, _, last = module.rpartition(".")
            names.insert(0, last)
            continue
        for part in names:
            if not hasattr(value, part):
                return part in getattr(value, "__annotations__", {})
            value = getattr(value, part)
        return True
    return False


def _docstrings(module: str) -> str:
    """All strings of a module that stand alone: docstrings of it, its classes, functions and constants."""
    file = importlib.import_module(module).__file__
    tree = ast.parse(Path(str(file)).read_text(encoding="utf-8"))
    return "\n".join(_standing_strings(tree))


def _standing_strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def main(argv: Sequence[str] | None = None) -> int:
    """Build, and say what is wrong; 1 if anything is."""
    parser = argparse.ArgumentParser(prog="build.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, help="folder, written anew (default: build/docs)")
    parser.add_argument("--only", nargs="+", metavar="DOOR", help="names such as loudness; default: all")
    arguments = parser.parse_args(argv)
    chosen = doors()
    if arguments.only:
        chosen = [name for name in chosen if name.rpartition(".")[2] in arguments.only]
    faults = build(arguments.output, chosen)
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    if faults:
        sys.stderr.write(f"docs: {len(faults)} faults\n")
        return 1
    sys.stdout.write(f"docs: {len(chosen)} modules, {len(pages())} pages in {arguments.output}; open index.html\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Checks the links of the README and of the book in docs/: files and anchors. Needs only Python's standard library.

  ci/links.py                checks README.md, CONTRIBUTING.md, CHANGELOG.md, ci/README.md and docs/*.md
  ci/links.py --book FOLDER  also checks the book that mdBook has built there. Links that leave the book, for example to
                             ../include/xshm.h, are made to work before: the files are copied into FOLDER/repository

Also checks that each page of docs/ is in docs/SUMMARY.md, and that pages with Rust code are in the list of src/lib.rs, so that
the code runs as a test.
"""
import html.parser
import os
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "ci/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
faults = []


def fault(where, what):
    faults.append(f"{where}: {what}")


def shown(path):
    path = Path(path)
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def is_external(link):
    return re.match(r"[a-z][a-z0-9+.-]*:", link) is not None


def prose(text):
    """The lines outside of code blocks, with their numbers."""
    inside = False
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            yield number, line


def anchors(path, known={}):
    """The anchors of a page's headings, as GitHub and mdBook make them."""
    if path not in known:
        found, counts = set(), {}
        for _, line in prose(path.read_text(encoding="utf-8")):
            heading = re.match(r"#{1,6} (.*)", line)
            if heading:
                words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
                name = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
                count = counts.get(name, 0)
                counts[name] = count + 1
                found.add(f"{name}-{count}" if count else name)
        known[path] = found
    return known[path]


def check_page(path):
    text = path.read_text(encoding="utf-8")
    for number, line in prose(text):
        where = f"{shown(path)}:{number}"
        for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "``", line)):
            if is_external(link):
                continue
            name, anchor = urldefrag(unquote(link))
            to = (path.parent / name).resolve() if name else path
            if not to.exists():
                fault(where, f"there is no {link}")
            elif not to.is_relative_to(ROOT):
                fault(where, f"{link} leaves the repository")
            elif anchor and to.suffix != ".md":
                fault(where, f"{link} has an anchor, and is no page")
            elif anchor and anchor not in anchors(to):
                fault(where, f"{shown(to)} has no heading #{anchor}")


def check_lists():
    summary = (ROOT / "docs/SUMMARY.md").read_text(encoding="utf-8")
    library = (ROOT / "src/lib.rs").read_text(encoding="utf-8")
    for path in PAGES:
        if path.parent.name != "docs" or path.name == "SUMMARY.md":
            continue
        if f"({path.name})" not in summary:
            fault(shown(path), "is not in docs/SUMMARY.md")
        has_rust = re.search(r"^```rust", path.read_text(encoding="utf-8"), re.MULTILINE)
        if has_rust and f'"{path.stem}"' not in library:
            fault(shown(path), "has Rust code, and is not in the list of src/lib.rs")


class Links(html.parser.HTMLParser):
    """The links and the anchors of a page of the book."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.anchors.add(value)
            elif name in ("href", "src") and value and tag in ("a", "img", "script", "link"):
                self.links.append(value)


def copy_files(book):
    """Makes the links that leave the book work. mdBook has changed the ends of links to pages from .md to .html. The copy of a page is
    named .md.txt, so that browsers show it."""

    def copied(match):
        name, anchor = urldefrag(match[2])
        source = ROOT / name[len("../"):]
        if source.suffix == ".html":
            source, anchor = source.with_suffix(".md"), ""
        to = Path("repository", source.relative_to(ROOT))
        if source.is_dir():
            shutil.copytree(source, book / to, dirs_exist_ok=True)
        elif source.is_file():
            to = Path(f"{to}.txt") if source.suffix == ".md" else to
            (book / to).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, book / to)
        else:
            return match[0]
        return match[1] + to.as_posix() + (f"#{anchor}" if anchor else "") + match[3]

    shutil.rmtree(book / "repository", ignore_errors=True)
    for path in book.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r'(<a href=")(\.\./[^"]+)(")', copied, text), encoding="utf-8")


def check_book(book):
    pages = {path: Links(path) for path in book.glob("*.html")}
    if len(pages) < 10:
        fault(book, "is no book")
    for path, page in pages.items():
        for link in page.links:
            if is_external(link):
                continue
            name, anchor = urldefrag(unquote(link))
            to = Path(os.path.normpath(path.parent / name)) if name else path
            if not to.exists() or not to.is_relative_to(book):
                fault(shown(path), f"there is no {link}")
            elif anchor and to in pages and anchor not in pages[to].anchors:
                fault(shown(path), f"{to.name} has no #{anchor}")


for page in PAGES:
    check_page(page)
check_lists()
if sys.argv[1:2] == ["--book"]:
    folder = Path(sys.argv[2]).resolve()
    copy_files(folder)
    check_book(folder)
for each in faults:
    print(f"ci/links.py: {each}", file=sys.stderr)
if faults:
    sys.exit(1)
print(f"{len(PAGES)} pages: every link leads to a file or to a heading")

"""Which files of a Rust crate import each other in a cycle.

A file imports another one if its code names an item that the other one defines: in a `use`, or by a path that begins
with `crate`, `self`, `super` or the name of a module in scope. A name is followed through every `use` that passes it
on, to the file that defines it: a parent that only re-exports its children imports nothing. A `pub use` of anything
else is an import like any other. A `mod` declaration is no import, and code that is compiled for tests only
(`#[cfg(test)]`) does not count.

The source is read as text, by the few rules of Rust's syntax that matter here. A path that a macro puts together is
not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Comments, strings, and characters (not lifetimes): paths in them import nothing.
NO_CODE = re.compile(
    r"""//[^\n]*
      | /\*.*?\*/
      | \b[bc]?r(?P<hashes>\#*)".*?"(?P=hashes)
      | \b[bc]?"(?:\\.|[^"\\])*"
      | "(?:\\.|[^"\\])*"
      | b?'(?:\\[^']+|\\'|[^\\'])'
    """,
    re.VERBOSE | re.DOTALL,
)
TOKEN = re.compile(r"r#\w+|\w+|::|=>|->|[^\w\s]")
BRACKETS = {"(": ")", "[": "]", "{": "}"}
# Each is followed by the name of what it defines.
DEFINES = {"fn", "struct", "enum", "union", "trait", "type", "const", "static", "macro_rules"}
NAME = re.compile(r"[^\W\d]\w*")

Names = tuple[str, ...]


@dataclass
class Module:
    """One module: a file of its own, or a part of one."""

    file: Path
    path: Names
    children: dict[str, Module] = field(default_factory=dict)
    items: set[str] = field(default_factory=set)
    # Names that a `use` brings in, each with the path it stands for.
    uses: dict[str, Names] = field(default_factory=dict)
    globs: list[Names] = field(default_factory=list)
    # Every path that its code names.
    named: list[Names] = field(default_factory=list)
    # The paths of its `pub use`.
    re_exported: list[Names] = field(default_factory=list)


def code_of(source: str) -> list[str]:
    """The tokens of a file, without comments and literals."""
    return TOKEN.findall(NO_CODE.sub(" ", source))


def closing(tokens: list[str], at: int) -> int:
    """The place of the bracket that closes the one at `at`."""
    depth = 0
    for place in range(at, len(tokens)):
        depth += tokens[place] in BRACKETS
        depth -= tokens[place] in BRACKETS.values()
        if depth == 0:
            return place
    return len(tokens) - 1


def end_of_item(tokens: list[str], at: int) -> int:
    """The place after an item that begins at `at`: after its semicolon or its block."""
    while at < len(tokens):
        if tokens[at] == ";":
            return at + 1
        if tokens[at] in BRACKETS:
            closed = closing(tokens, at)
            if tokens[at] == "{":
                return closed + 1
            at = closed
        at += 1
    return at


def is_test_only(attribute: list[str]) -> bool:
    """Whether an attribute leaves its item out of everything but tests: `cfg(test)`, `cfg(all(test, …))`."""
    return attribute[:3] == ["cfg", "(", "test"] or attribute[:5] == ["cfg", "(", "all", "(", "test"]


def use_tree(tokens: list[str], prefix: Names = ()) -> Iterator[tuple[str, Names]]:
    """The names that `a::{b as c, d::*}` brings in, each with its path; `*` for all names of a module."""
    path, at = list(prefix), 0
    while at < len(tokens):
        token = tokens[at]
        if token == "{":
            closed = closing(tokens, at)
            yield from use_trees(tokens[at + 1 : closed], tuple(path))
            return
        if token == "as":
            yield tokens[at + 1], tuple(path)
            return
        if token == "*":
            yield "*", tuple(path)
            return
        if token != "::" and not (token == "self" and path):
            path.append(token)
        at += 1
    if path:
        yield path[-1], tuple(path)


def use_trees(tokens: list[str], prefix: Names) -> Iterator[tuple[str, Names]]:
    """As `use_tree`, of several with commas between them."""
    begin, depth = 0, 0
    for place, token in enumerate([*tokens, ","]):
        depth += token in BRACKETS
        depth -= token in BRACKETS.values()
        if token == "," and depth == 0:
            if place > begin:
                yield from use_tree(tokens[begin:place], prefix)
            begin = place + 1


class Crate:
    """The modules of one target, from its root file on."""

    def __init__(self, root: Path) -> None:
        self.root = Module(root, ())
        self.read_file(self.root, root.parent)

    def read_file(self, module: Module, folder: Path) -> None:
        """Read a module's file; `folder` is where the files of its children are."""
        self.read(module, code_of(module.file.read_text(encoding="utf-8")), folder)

    def read(self, module: Module, tokens: list[str], folder: Path) -> None:
        at, is_public, is_for_tests = 0, False, False
        while at < len(tokens):
            token = tokens[at]
            if token == "#":
                inner = tokens[at + 1] == "!"
                closed = closing(tokens, at + 1 + inner)
                is_for_tests |= not inner and is_test_only(tokens[at + 2 : closed])
                at = closed + 1
                continue
            if is_for_tests:
                at, is_for_tests, is_public = end_of_item(tokens, at), False, False
                continue
            if token == "pub":
                is_public = True
                at = closing(tokens, at + 1) + 1 if tokens[at + 1] == "(" else at + 1
                continue
            at = self.read_item(module, tokens, at, folder, is_public=is_public)
            is_public = False

    def read_item(self, module: Module, tokens: list[str], at: int, folder: Path, *, is_public: bool) -> int:
        end = end_of_item(tokens, at)
        if tokens[at] == "mod":
            self.read_child(module, tokens[at:end], folder)
            return end
        if tokens[at] == "use":
            # A `use` may have braces in the middle, and ends with its semicolon.
            end = tokens.index(";", at) + 1
            self.read_use(module, tokens[at + 1 : end - 1], is_public=is_public)
            return end
        for place in range(at, end):
            if tokens[place] in DEFINES and tokens[place + 1] not in ("fn", "unsafe", "async", "extern"):
                name = place + 2 if tokens[place + 1] == "!" else place + 1
                module.items.add(tokens[name])
                break
            if tokens[place] == "{":
                break
        self.read_code(module, tokens[at:end])
        return end

    def read_child(self, module: Module, tokens: list[str], folder: Path) -> None:
        name = tokens[1]
        if tokens[-1] == "}":
            child = Module(module.file, (*module.path, name))
            self.read(child, tokens[3:-1], folder / name)
        else:
            beside = folder / f"{name}.rs"
            file = beside if beside.exists() else folder / name / "mod.rs"
            child = Module(file, (*module.path, name))
            self.read_file(child, folder / name)
        module.children[name] = child

    def read_use(self, module: Module, tokens: list[str], *, is_public: bool) -> None:
        for name, path in use_tree(tokens):
            if name == "*":
                module.globs.append(path)
            elif name != "_":
                module.uses[name] = path
            (module.re_exported if is_public else module.named).append(path)

    def read_code(self, module: Module, tokens: list[str]) -> None:
        """Note every path of two or more names, and what a `use` inside a function names."""
        at = 0
        while at < len(tokens):
            if tokens[at] == "use" and ";" in tokens[at:]:
                end = tokens.index(";", at)
                module.named.extend(path for _, path in use_tree(tokens[at + 1 : end]))
                at = end
            elif tokens[at + 1 : at + 2] == ["::"] and (at == 0 or tokens[at - 1] != "::") and NAME.match(tokens[at]):
                end = at + 1
                while tokens[end : end + 1] == ["::"] and NAME.match(" ".join(tokens[end + 1 : end + 2])):
                    end += 2
                module.named.append(tuple(tokens[at:end:2]))
                at = end
            else:
                at += 1

    def modules(self) -> list[Module]:
        found = [self.root]
        for module in found:
            found.extend(module.children.values())
        return found

    def at(self, path: Names) -> Module:
        module = self.root
        for name in path:
            module = module.children[name]
        return module

    def definer(self, module: Module, path: Names, followed: frozenset = frozenset()) -> Module | None:
        """The module that defines what `path` names inside `module`; None if it is of another crate.

        `followed` has each `use` that led here, so that none is followed twice.
        """
        first, *rest = path
        if first == "crate":
            return self.inside(self.root, tuple(rest), followed)
        if first == "self":
            return self.inside(module, tuple(rest), followed)
        if first == "super":
            return self.inside(self.at(module.path[:-1]), tuple(rest), followed) if module.path else None
        if self.has(module, first):
            return self.inside(module, path, followed)
        return self.through_globs(module, path, followed)

    def inside(self, module: Module, path: Names, followed: frozenset) -> Module | None:
        """As `definer`, of a path that must begin in `module` itself."""
        if not path:
            return module
        first, *rest = path
        if first == "super":
            return self.definer(module, path, followed)
        if first in module.children:
            return self.inside(module.children[first], tuple(rest), followed)
        if first in module.items:
            return module
        if first in module.uses:
            key = (module.path, first)
            if key in followed:
                return None
            return self.definer(module, (*module.uses[first], *rest), followed | {key})
        return self.through_globs(module, path, followed) or module

    def through_globs(self, module: Module, path: Names, followed: frozenset) -> Module | None:
        for glob in module.globs:
            key = (module.path, glob)
            source = None if key in followed else self.definer(module, glob, followed | {key})
            if source:
                find = self.inside if self.has(source, path[0]) else self.through_globs
                found = find(source, path, followed | {key})
                if found:
                    return found
        return None

    def has(self, module: Module, name: str) -> bool:
        return name in module.items or name in module.children or name in module.uses

    def imports(self) -> dict[Path, set[Path]]:
        """Each file and the files it imports."""
        graph: dict[Path, set[Path]] = {}
        for module in self.modules():
            imported = graph.setdefault(module.file, set())
            elsewhere = [path for path in module.re_exported if path[0] not in ("self", *module.children)]
            for path in [*module.named, *elsewhere]:
                definer = self.definer(module, path)
                if definer and definer.file != module.file:
                    imported.add(definer.file)
        return graph


def cycles(graph: dict[Path, set[Path]]) -> list[list[Path]]:
    """The groups of files that import each other, directly or by way of others: strongly connected components."""

    def reachable(start: Path) -> set[Path]:
        found: set[Path] = set()
        open_ = [start]
        while open_:
            new = graph.get(open_.pop(), set()) - found
            found |= new
            open_.extend(new)
        return found

    reached = {file: reachable(file) for file in graph}
    found, seen = [], set()
    for file in sorted(graph):
        if file in reached[file] and file not in seen:
            cycle = sorted(other for other in reached[file] if file in reached.get(other, set()))
            seen.update(cycle)
            found.append(cycle)
    return found

"""What counts as an import between files, and which of them are in a cycle. Run by `make test-scripts`."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from import_cycles import Crate, cycles


def imports(files: dict[str, str]) -> dict[str, set[str]]:
    """Each file of a crate and the files it imports; files that import nothing are left out."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            file = Path(folder) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        graph = Crate(Path(folder) / "lib.rs").imports()
    names = {file: str(file.relative_to(folder)) for file in graph}
    return {names[file]: {names[other] for other in others} for file, others in graph.items() if others}


class Imports(unittest.TestCase):
    def check(self, expected: dict[str, set[str]], **files: str) -> None:
        """`files` by their names without `.rs`, `__` for a folder."""
        self.assertEqual(imports({f"{name.replace('__', '/')}.rs": text for name, text in files.items()}), expected)

    def test_a_use_of_an_item(self) -> None:
        self.check({"a.rs": {"b.rs"}}, lib="mod a; mod b;", a="use crate::b::{self, B as C};", b="pub struct B;")

    def test_a_path_in_code(self) -> None:
        code = "fn a() -> u8 { let x: u8 = super::b::c::deep()?; x }"
        self.check({"a.rs": {"b/c.rs"}}, lib="mod a; mod b;", a=code, b="pub mod c;", b__c="pub fn deep() {}")

    def test_a_use_inside_a_function(self) -> None:
        self.check({"a.rs": {"b.rs"}}, lib="mod a; mod b;", a="fn a() { use crate::b::B; }", b="pub struct B;")

    def test_a_module_that_is_named_relative_to_its_parent(self) -> None:
        self.check({"a.rs": {"a/b.rs"}}, lib="mod a;", a="mod b; use b::B; fn f() { b::g() }", a__b="pub struct B;")

    def test_a_re_export_leads_to_where_the_item_is_defined(self) -> None:
        lib = "mod a; mod b; pub use b::{B, c::*};"
        files = {"b": "pub mod c; pub struct B;", "b__c": "pub const fn c() {}"}
        self.check({"a.rs": {"b.rs", "b/c.rs"}}, lib=lib, a="use crate::B; fn a() { crate::c() }", **files)

    def test_a_name_is_followed_through_several_globs(self) -> None:
        files = {"a": "pub use crate::b::*;", "b": "pub use crate::c::*;", "c": "use crate::d::D; pub struct C;"}
        graph = imports({"lib.rs": "mod a; mod b; mod c; mod d;", "d.rs": "use crate::a::C; pub struct D;"} | {
            f"{name}.rs": text for name, text in files.items()
        })
        self.assertEqual(graph["d.rs"], {"c.rs"})
        self.assertEqual(graph["c.rs"], {"d.rs"})

    def test_a_re_export_from_elsewhere_is_an_import(self) -> None:
        uses = "pub(crate) use crate::b::B; pub fn f(_: B) {}"
        self.check({"a.rs": {"b.rs"}}, lib="mod a; mod b;", a=uses, b="pub struct B;")

    def test_a_parent_imports_nothing_by_declaring_and_re_exporting(self) -> None:
        child = "use super::d::D; pub struct C;"
        self.check({"a/c.rs": {"a/d.rs"}}, lib="mod a;", a="mod c; mod d; pub use c::C;", a__c=child, a__d="struct D;")

    def test_what_is_for_tests_only_does_not_count(self) -> None:
        tests = "#[cfg(test)] mod tests { use crate::b::B; fn t() { crate::b::B; } } #[cfg(test)] use crate::b::B;"
        lib = "mod a; mod b; #[cfg(test)] mod only;"
        self.check({}, lib=lib, a=tests, b="pub struct B;", only="use crate::a::A;")

    def test_what_only_other_builds_have_does(self) -> None:
        self.check({"a.rs": {"b.rs"}}, lib="mod a; mod b;", a='#[cfg(feature = "x")] use crate::b::B;', b="")

    def test_comments_and_literals_are_no_code(self) -> None:
        text = """
            // use crate::b::B;
            /* use crate::b::B; */
            const A: &str = "use crate::b::B; // \\" ";
            const R: &str = r#"crate::b::B "quoted" "#;
            const Q: (char, char) = ('"', '\\'');
            fn f<'a>(x: &'a str) -> &'a str { x } // '
        """
        self.check({}, lib="mod a; mod b;", a=text, b="pub struct B;")

    def test_other_crates_are_not_files(self) -> None:
        text = "use time::time; use b::c; fn f() { time::now(); std::b::B; tokio::time::sleep(); }"
        self.check({}, lib="mod a;", a=text)

    def test_a_glob_that_leads_back_ends(self) -> None:
        globs = {"a": "pub use crate::b::*; pub struct A;", "b": "use crate::a::*;"}
        self.check({"a.rs": {"b.rs"}, "b.rs": {"a.rs"}}, lib="mod a; mod b;", **globs)


class Cycles(unittest.TestCase):
    def test_only_files_that_lead_back_to_themselves_are_in_one(self) -> None:
        edges = {"a": "b", "b": "cd", "c": "a", "d": "e", "e": "", "f": "g", "g": "f"}
        graph = {Path(file): {Path(other) for other in others} for file, others in edges.items()}
        self.assertEqual(cycles(graph), [[Path("a"), Path("b"), Path("c")], [Path("f"), Path("g")]])


if __name__ == "__main__":
    unittest.main()

"""How n8n is put together: what is thrown away, what is kept, and what makes a part again."""

from __future__ import annotations

from pathlib import Path

from n8n.installation import MADE, assets_of, digest, made_from, sources_of, trim


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("12345", encoding="utf-8")
    return root


def left(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_what_nothing_reads_is_thrown_away_and_licences_stay(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/i.js", "a/i.js.map", "a/i.d.ts", "a/README.md", "a/LICENSE.md", "@s/b/x.d.mts", "a/x.ts")
    assert trim(root) == 4 * 5
    assert left(root) == {"a/i.js", "a/LICENSE.md", "a/x.ts"}


def test_types_that_our_nodes_are_compiled_with_stay(tmp_path: Path) -> None:
    root = tree(tmp_path, "n8n-workflow/dist/i.d.ts", "@types/node/i.d.ts", "other/n8n-workflow/i.d.ts")
    trim(root)
    assert left(root) == {"n8n-workflow/dist/i.d.ts", "@types/node/i.d.ts"}


def test_a_package_is_made_from_what_was_written_and_not_from_what_was_built(tmp_path: Path) -> None:
    root = tree(
        tmp_path, "package.json", "nodes/A.node.ts", "nodes/a.svg", "dist/A.js", "node_modules/x/i.ts", "test/a.ts"
    )
    assert [path.name for path in sources_of(root)] == ["A.node.ts", "a.svg", "package.json"]
    assert [path.name for path in assets_of(root)] == ["a.svg"]


def test_another_content_or_name_is_another_digest(tmp_path: Path) -> None:
    root = tree(tmp_path, "a", "b")
    first = digest(root, [root / "a"])
    assert digest(root, [root / "b"]) != first
    (root / "a").write_text("other", encoding="utf-8")
    assert digest(root, [root / "a"]) != first
    assert made_from(root) is None
    (root / MADE).write_text(first, encoding="ascii")
    assert made_from(root) == first

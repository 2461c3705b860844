"""Completion of the `bbs` command in bash. `tests.integration.test_completion` has other shells."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.completion_case import FILES, CompletionCase, output


class Bash(CompletionCase, SynchronousTestCase):
    def complete(self, line: str) -> set[str]:
        words = line.split(" ")
        script = (
            f"source {FILES}/bbs.bash; COMP_WORDS=({' '.join(words[:-1])} '{words[-1]}'); "
            f'COMP_CWORD={len(words) - 1}; _bbs; printf "%s\\n" "${{COMPREPLY[@]}}"'
        )
        return {*output("bash", "--norc", "-c", script).splitlines()} - {""}

    def test_names_with_spaces(self) -> None:
        folder = Path(self.mktemp())
        (folder / "a folder").mkdir(parents=True)
        self.assertEqual(self.complete(f"bbs up --data {folder}/"), {f"{folder}/a folder"})
        (folder / "two words.toml").touch()
        for line in ("bbs up --config", "bbs config check"):
            found = self.complete(f"{line} {folder}/t")
            self.assertEqual(found, {f"{folder}/two words.toml"})

    def test_it_is_bound_to_the_command(self) -> None:
        self.assertIn("-F _bbs bbs", output("bash", "-c", f"source {FILES}/bbs.bash; complete -p"))

"""The keyboard: one table, which the help shows and the script reads from there."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Binding:
    keys: str  # pressed one after another
    action: str  # what app.js does
    help: str
    where: str  # everywhere, list, run, log


BINDINGS = (
    Binding("?", "help", "Show this help", "everywhere"),
    Binding("/", "search", "Search", "everywhere"),
    Binding("g r", "go:/console/runs", "Go to runs", "everywhere"),
    Binding("g j", "go:/console/jobtypes", "Go to job types", "everywhere"),
    Binding("g p", "go:/console/prompts", "Go to prompts", "everywhere"),
    Binding("g c", "go:/console/cost", "Go to cost", "everywhere"),
    Binding("s", "start", "Start a run", "everywhere"),
    Binding("t", "theme", "Switch between light and dark", "everywhere"),
    Binding("Escape", "escape", "Close a dialog, or leave a field", "everywhere"),
    Binding("j", "next", "Next run", "list"),
    Binding("k", "previous", "Previous run", "list"),
    Binding("Enter", "open", "Open the run", "list"),
    Binding("x", "select", "Select the run", "list"),
    Binding("c", "cancel", "Cancel", "run"),
    Binding("r", "retry", "Retry", "run"),
    Binding("e", "rerun", "Run again with changes", "run"),
    Binding("1", "tab:1", "Codex", "run"),
    Binding("2", "tab:2", "Log", "run"),
    Binding("3", "tab:3", "Prompt", "run"),
    Binding("4", "tab:4", "Artifacts", "run"),
    Binding("5", "tab:5", "YAML", "run"),
    Binding("n", "match:1", "Next match", "log"),
    Binding("N", "match:-1", "Previous match", "log"),
    Binding("f", "follow", "Follow new log lines", "log"),
    Binding("w", "wrap", "Wrap long lines", "log"),
)

"""`python -m ibbridge.docgen`: write the files generated from the declarations, and remove stale ones."""

from __future__ import annotations

from pathlib import Path

from ibbridge.docgen import SCHEMAS, files, risk_rules, states

ROOT = Path(__file__).parents[2]


def main(root: Path = ROOT) -> None:
    """Write the files below `root`."""
    made = {root / path: text for path, text in files().items()}
    for old in (root / SCHEMAS).rglob("*.json"):
        if old not in made:
            old.unlink()
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name in states.PAGES:
        page = root / name
        if page.exists():
            page.write_text(states.filled(name, page.read_text(encoding="utf-8")), encoding="utf-8")
    risk = root / risk_rules.PAGE
    if risk.exists():
        risk.write_text(risk_rules.filled(risk.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

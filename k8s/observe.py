"""Makes the files of k8s/monitoring that no person writes: rules and dashboards. python k8s/observe.py

Needs Goodsight's development packages (grafana-foundation-sdk).
"""

from __future__ import annotations

from observing.files import FOLDER, files


def main() -> None:
    for name, text in files().items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path)


if __name__ == "__main__":
    main()

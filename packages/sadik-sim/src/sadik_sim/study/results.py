"""A study's report as files: one JSON document, and one CSV table for each kind of row."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import attrs

from sadik_sim.study.measures import Row, SettingReport
from sadik_sim.study.spec import Study

__all__ = ["TABLES", "as_json", "worst_visibility_error", "write_csv", "write_json"]

FORMAT = 1

TABLES = ("latency", "availability", "over_time", "visibility", "versions", "siblings", "cost")

_READS_MIN = 100


def as_json(study: Study, reports: Sequence[SettingReport]) -> str:
    """The whole report."""
    return json.dumps(
        {
            "format": FORMAT,
            "study": study.name,
            "title": study.title,
            "about": study.about.strip(),
            "seeds": study.seeds,
            "phases": [attrs.asdict(phase) for phase in study.phases],
            "settings": [
                {
                    "label": report.setting.label,
                    **attrs.asdict(report.setting),
                    **{table: getattr(report, table) for table in TABLES},
                }
                for report in reports
            ],
        },
        indent=1,
    )


def write_json(study: Study, reports: Sequence[SettingReport], directory: Path) -> None:
    """``results.json``."""
    (directory / "results.json").write_text(as_json(study, reports) + "\n", encoding="utf-8")


def write_csv(reports: Sequence[SettingReport], directory: Path) -> None:
    """``latency.csv`` and so on: the rows of all settings, the setting in the first columns."""
    for table in TABLES:
        rows = [
            {"setting": report.setting.label, **attrs.asdict(report.setting), **row}
            for report in reports
            for row in _rows(report, table)
        ]
        with (directory / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["setting"])
            writer.writeheader()
            writer.writerows(rows)


def worst_visibility_error(report: SettingReport) -> tuple[float, float] | None:
    """Where measured and predicted t-visibility differ most: (points of a hundred, from ms).

    Only bins with enough reads to tell; None where there are none, as where nothing is calm.
    """
    worst: tuple[float, float] | None = None
    for row in report.visibility:
        share, predicted, reads = row["share"], row["predicted"], row["reads"]
        if isinstance(share, float) and isinstance(predicted, float):
            assert isinstance(reads, int)
            assert isinstance(row["from_ms"], float)
            error = abs(share - predicted) * 100
            if reads >= _READS_MIN and (worst is None or error > worst[0]):
                worst = (error, row["from_ms"])
    return worst


def _rows(report: SettingReport, table: str) -> list[Row]:
    found: list[Row] | Row = getattr(report, table)
    return found if isinstance(found, list) else [found]

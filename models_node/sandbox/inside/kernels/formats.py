"""Formatters that E2B's SDK knows and IPython does not: a figure's data (`e2b/chart`), a table's data (`e2b/data`)."""

import sys
from typing import Any

from IPython.core.formatters import BaseFormatter, DisplayFormatter
from traitlets import ObjectName, Unicode

# Data of a larger table is left out of a result: its HTML and text are cut short by pandas itself, this would not be.
MAX_TABLE_CELLS = 100_000


class ChartFormatter(BaseFormatter):
    """A matplotlib figure as `e2b/chart`.

    It knows figures itself: IPython takes what was registered for them out of every formatter whenever figure formats
    are chosen, as `%matplotlib inline` does.
    """

    format_type = Unicode("e2b/chart")
    print_method = ObjectName("_repr_e2b_chart_")
    _return_type = dict

    def __call__(self, obj: Any) -> Any:
        figures: Any = sys.modules.get("matplotlib.figure")
        if figures is not None and isinstance(obj, figures.Figure):
            return chart_of_figure(obj)
        return super().__call__(obj)


class DataFormatter(BaseFormatter):
    """A pandas DataFrame as `e2b/data`: column name to list of values."""

    format_type = Unicode("e2b/data")
    print_method = ObjectName("_repr_e2b_data_")
    _return_type = dict

    def __call__(self, obj: Any) -> Any:
        pandas: Any = sys.modules.get("pandas")
        if pandas is not None and isinstance(obj, pandas.DataFrame):
            return data_of_table(obj)
        return super().__call__(obj)


def install_formats(formatter: DisplayFormatter) -> None:
    """Adds both to those a result is tried with."""
    formatter.formatters["e2b/chart"] = ChartFormatter(parent=formatter)
    formatter.formatters["e2b/data"] = DataFormatter(parent=formatter)


def chart_of_figure(figure: Any) -> dict[str, Any] | None:
    """What is drawn, as e2b_charts describes it; None for a figure it cannot read (its image is shown all the same)."""
    from e2b_charts import chart_figure_to_dict

    try:
        chart: dict[str, Any] = chart_figure_to_dict(figure)
    except Exception:
        return None
    return chart or None


def data_of_table(table: Any) -> dict[str, Any] | None:
    """Columns as lists; dates as ISO 8601 text. None for tables above MAX_TABLE_CELLS."""
    if table.size > MAX_TABLE_CELLS:
        return None
    try:
        columns = table.to_dict(orient="list")
    except ValueError:  # columns whose names repeat have no such form
        return None
    return {str(name): [_cell(value) for value in values] for name, values in columns.items()}


def _cell(value: Any) -> Any:
    isoformat = getattr(value, "isoformat", None)
    if callable(isoformat):
        return None if value != value else isoformat()  # noqa: PLR0124 (NaT differs from itself)
    return value

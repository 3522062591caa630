"""Formatters that E2B's SDK knows and IPython does not: a figure's data (`e2b/chart`), a table's data (`e2b/data`)."""

from typing import Any

from IPython.core.formatters import BaseFormatter, DisplayFormatter
from traitlets import ObjectName, Unicode

# Data of a larger table is left out of a result: its HTML and text are cut short by pandas itself, this would not be.
MAX_TABLE_CELLS = 100_000


class ChartFormatter(BaseFormatter):
    """A matplotlib figure as `e2b/chart`."""

    format_type = Unicode("e2b/chart")
    print_method = ObjectName("_repr_e2b_chart_")
    _return_type = dict


class DataFormatter(BaseFormatter):
    """A pandas DataFrame as `e2b/data`: column name to list of values."""

    format_type = Unicode("e2b/data")
    print_method = ObjectName("_repr_e2b_data_")
    _return_type = dict


def install_formats(formatter: DisplayFormatter) -> None:
    """Registers both; they take effect when the modules of their types are imported."""
    chart = ChartFormatter(parent=formatter)
    chart.for_type_by_name("matplotlib.figure", "Figure", chart_of_figure)
    data = DataFormatter(parent=formatter)
    data.for_type_by_name("pandas", "DataFrame", data_of_table)
    # pandas 2 and earlier name the module where the class is defined
    data.for_type_by_name("pandas.core.frame", "DataFrame", data_of_table)
    formatter.formatters["e2b/chart"] = chart
    formatter.formatters["e2b/data"] = data


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

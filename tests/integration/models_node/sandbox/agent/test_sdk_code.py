"""`run_code` of the real SDK against the agent."""

from __future__ import annotations

import base64

import pytest
from e2b import NotFoundException, SandboxException, TimeoutException
from e2b_code_interpreter import AsyncSandbox, Sandbox


def test_the_last_expression_is_the_main_result(sandbox: Sandbox) -> None:
    assert sandbox.run_code("1 + 1").text == "2"


def test_a_string_is_shown_without_its_quotes(sandbox: Sandbox) -> None:
    assert sandbox.run_code("'hola'").text == "hola"


def test_variables_stay_between_executions(sandbox: Sandbox) -> None:
    sandbox.run_code("kept = 41")
    assert sandbox.run_code("kept + 1").text == "42"


def test_output_is_streamed_and_collected(sandbox: Sandbox) -> None:
    seen: list[str] = []
    code = "import sys; print('out'); print('err', file=sys.stderr)"
    execution = sandbox.run_code(code, on_stdout=lambda message: seen.append(message.line))
    assert "".join(execution.logs.stdout) == "out\n"
    assert "".join(execution.logs.stderr) == "err\n"
    assert seen == execution.logs.stdout


def test_python_subprocesses_and_c_code_come_out_in_order(sandbox: Sandbox) -> None:
    code = """
import ctypes, os, subprocess
print('python', end=' ')
subprocess.run('echo subprocess', shell=True)
os.write(1, b'descriptor\\n')
ctypes.CDLL(None).puts(b'library')
"""
    assert "".join(sandbox.run_code(code).logs.stdout) == "python subprocess\ndescriptor\nlibrary\n"


def test_an_error_has_name_value_and_a_traceback_without_colours(sandbox: Sandbox) -> None:
    error = sandbox.run_code("def f():\n    return 1 / 0\nf()").error
    assert error is not None
    assert (error.name, error.value) == ("ZeroDivisionError", "division by zero")
    assert "return 1 / 0" in error.traceback
    assert "\x1b" not in error.traceback


def test_a_syntax_error_is_an_error(sandbox: Sandbox) -> None:
    error = sandbox.run_code("def f(:").error
    assert error is not None and error.name == "SyntaxError"


def test_input_is_a_clear_error(sandbox: Sandbox) -> None:
    error = sandbox.run_code("input('name? ')").error
    assert error is not None and "without a terminal" in error.value


def test_packages_cannot_be_installed_and_it_is_said(sandbox: Sandbox) -> None:
    error = sandbox.run_code("%pip install requests").error
    assert error is not None and "cannot be installed" in error.value


def test_sys_exit_ends_the_cell_not_the_kernel(sandbox: Sandbox) -> None:
    sandbox.run_code("stays = 1")
    error = sandbox.run_code("import sys; sys.exit(3)").error
    assert error is not None and error.name == "SystemExit"
    assert sandbox.run_code("stays").text == "1"


def test_await_and_magics_work_at_the_top_level(sandbox: Sandbox) -> None:
    assert sandbox.run_code("import asyncio\nawait asyncio.sleep(0)\n7").text == "7"
    assert sandbox.run_code("import asyncio\nasyncio.run(asyncio.sleep(0, 8))").text == "8"
    assert "hi" in "".join(sandbox.run_code("!echo hi").logs.stdout)
    assert sandbox.run_code("%timeit -n1 -r1 1").error is None


def test_a_figure_is_a_png_with_its_data(sandbox: Sandbox) -> None:
    code = (
        "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3], [4, 5, 6], label='line')\nplt.title('Title')\nplt.show()"
    )
    execution = sandbox.run_code(code)
    assert execution.error is None
    (shown,) = [result for result in execution.results if result.png]
    assert base64.b64decode(shown.png).startswith(b"\x89PNG")
    assert shown.chart is not None
    assert shown.chart.title == "Title"
    assert [tuple(point) for point in shown.chart.elements[0].points] == [(1, 4), (2, 5), (3, 6)]


def test_a_figure_left_open_is_shown_as_in_a_notebook(sandbox: Sandbox) -> None:
    execution = sandbox.run_code("import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.bar(['a'], [1]);")
    assert [result.png is not None for result in execution.results] == [True]


def test_a_table_has_html_and_data(sandbox: Sandbox) -> None:
    code = "import pandas as pd\npd.DataFrame({'a': [1, 2], 'when': pd.to_datetime(['2026-01-01', None])})"
    result = sandbox.run_code(code).results[0]
    assert result.html is not None and "<table" in result.html
    assert result.data == {"a": [1, 2], "when": ["2026-01-01T00:00:00", None]}


def test_displays_keep_their_order_and_kinds(sandbox: Sandbox) -> None:
    code = """
from IPython.display import HTML, JSON, Latex, Markdown, SVG, Javascript, display
for shown in (HTML('<b>b</b>'), Markdown('**m**'), Latex('$x$'), JSON({'k': 1}), Javascript('1'),
              SVG('<svg xmlns="http://www.w3.org/2000/svg"></svg>')):
    display(shown)
'last'
"""
    results = sandbox.run_code(code).results
    assert [list(result.formats())[-1] for result in results] == [
        "html", "markdown", "latex", "json", "javascript", "svg", "text",
    ]  # fmt: skip
    assert [result.is_main_result for result in results] == [False] * 6 + [True]
    assert results[3].json == {"k": 1}


def test_environment_variables_last_for_one_execution(sandbox: Sandbox) -> None:
    code = "import os; os.environ.get('ONLY_ONCE')"
    assert sandbox.run_code(code, envs={"ONLY_ONCE": "yes"}).text == "yes"
    assert sandbox.run_code(code).text is None


def test_contexts_are_separate_and_have_folders(sandbox: Sandbox) -> None:
    sandbox.files.make_dir("project")
    context = sandbox.create_code_context(cwd="project")
    assert sandbox.run_code("import os; os.path.basename(os.getcwd())", context=context).text == "project"
    sandbox.run_code("mine = 1", context=context)
    assert sandbox.run_code("'mine' in globals()").text == "False"
    assert context.id in [listed.id for listed in sandbox.list_code_contexts()]
    sandbox.restart_code_context(context)
    assert sandbox.run_code("'mine' in globals()", context=context).text == "False"
    sandbox.remove_code_context(context)
    with pytest.raises(NotFoundException):
        sandbox.run_code("1", context=context)
    with pytest.raises(NotFoundException):
        sandbox.restart_code_context(context)


def test_bash_is_a_language_with_a_memory(sandbox: Sandbox) -> None:
    sandbox.run_code("X=5; cd /", language="bash")
    execution = sandbox.run_code("echo $X $PWD $Y", language="sh", envs={"Y": "it's"})
    assert execution.logs.stdout == ["5 / it's\n"]
    failed = sandbox.run_code("false", language="bash").error
    assert failed is not None and failed.value == "exit status 1"
    ended = sandbox.run_code("exit 4", language="bash").error
    assert ended is not None and "exit status 4" in ended.value
    assert sandbox.run_code("echo again", language="bash").logs.stdout == ["again\n"]


def test_javascript_and_typescript_are_languages(sandbox: Sandbox) -> None:
    sandbox.run_code("const a = 20", language="js")
    assert sandbox.run_code("a + 1", language="javascript").text == "21"
    execution = sandbox.run_code("interface P { x: number }\nconst p: P = { x: 1 }\np.x", language="ts")
    assert execution.text == "1"
    error = sandbox.run_code("throw new TypeError('no')", language="javascript").error
    assert error is not None and (error.name, error.value) == ("TypeError", "no")
    logs = sandbox.run_code("console.log('out'); console.error('err')", language="javascript").logs
    assert (logs.stdout, logs.stderr) == (["out\n"], ["err\n"])


def test_an_unknown_language_is_refused_by_name(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxException, match=r"400.*cobol.*python, bash, javascript, typescript"):
        sandbox.run_code("1", language="cobol")


def test_a_client_that_times_out_interrupts_its_code(sandbox: Sandbox) -> None:
    sandbox.run_code("survives = 1")
    with pytest.raises(TimeoutException):
        sandbox.run_code("import time\nwhile True: time.sleep(0.05)", timeout=1)
    assert sandbox.run_code("survives").text == "1"


async def test_the_asynchronous_client_does_the_same(async_sandbox: AsyncSandbox) -> None:
    execution = await async_sandbox.run_code("print('x')\n1 + 1")
    assert (execution.text, execution.logs.stdout) == ("2", ["x\n"])
    context = await async_sandbox.create_code_context(language="python")
    assert (await async_sandbox.run_code("3", context=context)).text == "3"
    await async_sandbox.remove_code_context(context)

"""MLflow's interface as a person uses it, in Chromium: find, sort, compare, draw, look at a figure.

What was seen stays as pictures in `test-output/mlflow/`, or in the folder $TEST_OUTPUT.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.schedule.patience import free_ports

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PICTURES = Path(os.environ.get("TEST_OUTPUT") or Path(__file__).parents[3] / "test-output") / "mlflow"
PATIENCE = 240.0
MISSING_IN_MLFLOW = "/users/current"
"""Its interface asks for the user, and its server knows none."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


@dataclass
class Person:
    """Somebody before the interface of a root: the page, where things are, and what could not be loaded."""

    page: Any
    server: str
    ranking: str
    wrong: list[str] = field(default_factory=list)

    def open(self, path: str, run: str) -> None:
        """Open a page and wait until a run is on it."""
        self.page.goto(self.server + path)
        self.run(run).wait_for()

    def run(self, name: str) -> Any:
        """The link to a run."""
        return self.page.get_by_role("link", name=name, exact=True).first

    def runs(self) -> list[str]:
        """The names of the runs, from top to bottom."""
        rows = "[...document.querySelectorAll('.ag-row:has(a)')]"
        by_index = "(one, other) => one.getAttribute('row-index') - other.getAttribute('row-index')"
        names: list[str] = self.page.evaluate(f"{rows}.sort({by_index}).map(row => row.querySelector('a').innerText)")
        return names

    def sees(self, what: Callable[[], bool]) -> bool:
        """Whether something comes true while somebody waits."""
        deadline = time.monotonic() + PATIENCE
        while not what() and time.monotonic() < deadline:
            self.page.wait_for_timeout(100)
        return what()

    def reads(self, *texts: str) -> bool:
        """Whether all these texts come to stand on the page."""
        return self.sees(lambda: all(text in self.page.inner_text("body") for text in texts))

    def picture(self, name: str) -> None:
        """Keep what is on the screen."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")


@pytest.fixture(scope="module")
def ranking(toy: Any) -> Iterator[str]:
    """What `harness ui` says is to be opened."""
    command = [sys.executable, "-m", "harness", "ui", "--root", toy.path, "--port", free_ports(1)[0]]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().split()[1]
        process.terminate()


@pytest.fixture(scope="module")
def person(ranking: str) -> Iterator[Person]:
    playwright = pytest.importorskip("playwright.sync_api")
    # Drawing WebGL without a graphics card takes minutes: plots that need it stay empty.
    options = ["--no-sandbox", "--disable-gpu", "--disable-software-rasterizer", "--disable-background-networking"]
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page(viewport={"width": 1900, "height": 1000})
        page.set_default_timeout(1000 * PATIENCE)
        # Its assistant would cover a fifth of the page when somebody comes for the first time.
        page.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
        server, _, path = ranking.partition("/#")
        found = Person(page, f"{server}/#", path)
        page.on("response", lambda answer: found.wrong.append(answer.url) if answer.status >= 400 else None)
        yield found
        browser.close()


def test_the_parent_is_found_from_the_list_of_studies(person: Person, toy: Any) -> None:
    person.page.goto(f"{person.server}/experiments")
    person.page.get_by_role("row").get_by_role("link", name="toy", exact=True).click()
    person.page.get_by_role("button", name="Model training").click()
    person.run(toy.plan).wait_for()
    person.picture("experiment")


def test_the_page_that_opens_is_the_ranking(person: Person, toy: Any) -> None:
    person.open(person.ranking, "msg")
    heads = person.page.get_by_role("columnheader")
    for name in ("rank/overall", "gap/retention_deviation", "mia/indiscernibility_val"):
        heads.filter(has_text=name).first.wait_for()
    assert person.sees(lambda: set(person.runs()) == {toy.plan, *toy.methods})
    assert person.runs()[:2] == ["msg", "ct"]
    person.picture("ranking")


def test_runs_are_sorted_by_a_metric(person: Person, toy: Any, tracked: Any) -> None:
    gaps = {name: run.data.metrics["gap/to_retrain"] for name, run in tracked.children.items()}
    assert len(set(gaps.values())) > 2

    def shown() -> list[float]:
        return [gaps[name] for name in person.runs() if name in gaps]

    person.open(person.ranking, "msg")
    head = person.page.get_by_role("columnheader").filter(has_text="gap/to_retrain").last
    head.click()
    assert person.sees(lambda: shown() == sorted(gaps.values(), reverse=True))
    head.click()
    assert person.sees(lambda: shown() == sorted(gaps.values()))
    person.picture("sorted")


def test_two_runs_are_compared(person: Person) -> None:
    person.open(person.ranking, "msg")
    for name in ("msg", "ct"):
        row = person.page.locator(".ag-row").filter(has=person.page.get_by_role("link", name=name, exact=True))
        row.get_by_role("checkbox").first.check()
    person.page.get_by_role("button", name="Compare", exact=True).click()
    person.page.wait_for_url("**/compare-runs?**")
    assert person.reads("Comparing 2 Runs", "msg", "ct", "method.lr", "cost/seconds")
    person.page.get_by_text("Metrics", exact=True).last.scroll_into_view_if_needed()
    person.picture("compared")


def test_charts_are_grouped(person: Person) -> None:
    person.open(f"{person.ranking}&compareRunsMode=CHART", "msg")
    groups = {"forget", "gap", "mia", "rank", "epochs"}
    assert person.sees(lambda: groups <= set(person.page.inner_text("body").splitlines()))
    person.picture("charts")


def test_a_run_says_what_it_is(person: Person, tracked: Any) -> None:
    run = tracked.children["msg"]
    person.page.goto(f"{person.server}/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    data = run.inputs.dataset_inputs[0].dataset
    assert person.reads(f"{data.name} ({data.digest})")
    assert person.reads("forget/accuracy", "harness.trials", "version.torch")
    person.picture("run")


def test_a_figure_of_the_parent_is_drawn(person: Person, toy: Any) -> None:
    person.open(person.ranking, toy.plan)
    person.run(toy.plan).click()
    person.page.get_by_role("tab", name="Artifacts").click()
    person.page.get_by_text("figures", exact=True).click()
    person.page.get_by_text("ranking.png", exact=True).first.click()
    widths = "[...document.images].map(image => image.naturalWidth)"
    assert person.sees(lambda: max(person.page.evaluate(widths), default=0) > 500)
    person.picture("figure")


def test_everything_that_was_asked_for_was_there(person: Person) -> None:
    assert [one for one in person.wrong if not one.endswith(MISSING_IN_MLFLOW)] == []

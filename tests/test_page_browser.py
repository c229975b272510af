"""The page in a real browser: headless Chromium, where there is one, held to what its visitors are promised."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import page_samples
from page_samples import PATIENCE, PageServer, fasta, held, serving_page

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need the Python package playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="the browser tests need Chromium: apt-get install chromium (nothing else misses it)"
)
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=PATIENCE * 1000)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    with serving_page(tmp_path_factory.mktemp("page")) as server:
        yield server


class Visit:
    """A visitor's tab, and what went wrong in it."""

    def __init__(self, browser: Any, server: PageServer, **options: Any) -> None:
        self.context = browser.new_context(base_url=server.url, **options)
        self.context.set_default_timeout(PATIENCE * 1000)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: self._asked(asked.url, server.url))

    def _asked(self, url: str, ours: str) -> None:
        if not url.startswith((ours, "data:", "blob:")):
            self.foreign.append(url)

    def ask(self, text: str, variants: str | None = None) -> Any:
        """Paste and predict."""
        self.page.goto("/")
        self.page.get_by_label("Sequences").fill(text)
        if variants:
            self.page.get_by_text("Options").click()
            self.page.locator(f"input[value={variants}]").check()
        self.page.get_by_role("button", name="Predict").click()
        return self.page

    def require_accessible(self) -> None:
        """axe finds nothing serious."""
        self.page.evaluate(AXE)
        found = self.page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        shown = [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in serious]
        assert not serious, shown


@pytest.fixture
def visit(browser: Any, server: PageServer) -> Iterator[Visit]:
    visit = Visit(browser, server, permissions=["clipboard-read", "clipboard-write"])
    yield visit
    visit.context.close()
    assert not visit.complaints and not visit.foreign


def test_the_whole_path_for_three_proteins(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.goto("/")
    visit.require_accessible()
    visit.ask(fasta(3, 30))
    page.wait_for_selector("#map-title")
    assert page.locator(".map > svg circle").count() == 3 and page.locator("tbody tr").count() == 3
    visit.require_accessible()
    page.get_by_label("Colour by").select_option("length")
    page.wait_for_url("**by=length**")
    page.get_by_role("link", name="protein_1", exact=True).click()
    page.wait_for_selector("#viewer[data-ready] #heatmap[data-drawn]")
    assert page.locator("nightingale-track path.feature").count() > 0
    assert page.locator("#contacts[data-drawn]").count() == 1
    visit.require_accessible()
    page.locator("#heatmap").hover(position={"x": 200, "y": 100})
    told = page.locator("#readout").inner_text()
    assert re.fullmatch(r"[A-Z]\d+[A-Z]\s+[+\u2212]?\d+\.\d\d|[A-Z]\d+: the residue itself", told), told
    with page.expect_download() as loading:
        page.locator(".actions").get_by_role("button", name="PNG").first.click()
    loading.value.save_as(tmp_path / "variants.png")
    assert (tmp_path / "variants.png").read_bytes().startswith(b"\x89PNG")
    with page.expect_download() as loading:
        page.get_by_role("link", name="embeddings.h5").click()
    assert loading.value.suggested_filename == "embeddings-1.h5"
    page.go_back()
    page.wait_for_url("**by=length**")
    page.go_back()
    page.go_back()
    assert page.get_by_label("Sequences").is_visible()


def test_the_heatmap_is_worked_by_keys_and_copies_the_mutation(visit: Visit) -> None:
    page = visit.ask(">P\nMKTAYIAKQRQISFVKSHFSRQ")
    page.wait_for_selector("#viewer[data-ready] #heatmap[data-drawn]")
    page.locator("#heatmap").focus()
    assert page.locator("#readout").inner_text().startswith("M1G")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.locator("#readout").inner_text().startswith("K2P")
    page.keyboard.press("Enter")
    page.get_by_text("K2P copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "K2P"
    page.keyboard.press("End")
    assert page.locator("#readout").inner_text().startswith("Q22P")


def test_zooming_shows_letters_and_moves_the_heatmap_along(visit: Visit) -> None:
    page = visit.ask(fasta(1, 120))
    page.wait_for_selector("#viewer[data-ready]")
    assert page.locator("#viewer").get_attribute("data-range") == "1-120"
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_selector("nightingale-sequence text.base")
    start, _, end = (page.locator("#viewer").get_attribute("data-range") or "").partition("-")
    assert 20 <= int(end) - int(start) <= 40
    page.get_by_role("button", name="Whole").click()
    page.wait_for_selector('#viewer[data-range="1-120"]')


def test_a_bad_fasta_is_answered_at_the_field_with_line_and_column(visit: Visit) -> None:
    page = visit.ask(">first\nMKTAYIAK\n>second\nMKT-YIAK\n")
    problem = page.get_by_role("alert")
    problem.wait_for()
    assert problem.inner_text().startswith("FASTA, line 4, column 4: record 'second': '-'")
    field = page.get_by_label("Sequences")
    assert field.get_attribute("aria-invalid") == "true"
    assert "fasta-problem" in (field.get_attribute("aria-describedby") or "")
    assert field.input_value() == ">first\nMKTAYIAK\n>second\nMKT-YIAK\n"
    assert page.evaluate("document.activeElement.id") == "fasta"
    chosen = (
        "document.activeElement.value.slice(document.activeElement.selectionStart, document.activeElement.selectionEnd)"
    )
    assert page.evaluate(chosen) == "-"
    visit.require_accessible()
    visit.complaints.clear()  # Chromium's own line about the status 422


def test_ids_that_are_html_are_shown_and_never_run(visit: Visit) -> None:
    evil = "<img/src=x/onerror=alert(1)>"
    visit.page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    page = visit.ask(f">{evil} <script>alert(2)</script>\nMKTAYIAKQR\n>'\"><b>\nMKTAYIAK\n")
    page.wait_for_selector("#map-title")
    page.get_by_role("link", name=evil, exact=True).click()
    page.wait_for_selector("#viewer[data-ready]")
    assert page.locator("h1").inner_text() == evil
    assert page.locator("main img, main script").count() == 0


def test_two_hundred_proteins_make_a_map_and_a_table(visit: Visit) -> None:
    page = visit.ask(fasta(200, 16), "wild-type-marginal")
    page.wait_for_selector("#map-title")
    assert page.locator(".map > svg circle").count() == 200 and page.locator("tbody tr").count() == 200
    page.get_by_label("Colour by").select_option("colour")
    page.wait_for_url("**by=colour**")
    assert sorted(page.locator(".legend li").all_inner_texts()) == ["blue 100", "red 100"]
    visit.require_accessible()
    page.get_by_role("link", name="protein_137", exact=True).click()
    page.wait_for_selector("#viewer[data-ready] #heatmap[data-drawn]")
    page.get_by_role("link", name="Next").click()
    page.wait_for_url("**/138")


def test_work_can_be_cancelled_and_begun_again(visit: Visit) -> None:
    with held():
        page = visit.ask(fasta(3, 31))
        page.get_by_text("Completing").wait_for()
        assert page.locator("#bar").get_attribute("value") not in ("0", "0.000", None)
        visit.require_accessible()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("heading", name="Cancelled").wait_for()
        visit.require_accessible()
        page.reload()
        page.get_by_role("heading", name="Cancelled").wait_for()
    page.get_by_role("button", name="Start again").click()
    page.wait_for_selector("#map-title")


def test_a_click_on_an_example_asks_it(visit: Visit) -> None:
    with held():
        visit.page.goto("/")
        visit.page.get_by_role("button", name="Eight families").click()
        visit.page.get_by_role("button", name="Cancel").click()
        visit.page.get_by_role("heading", name="Cancelled").wait_for()
        visit.page.get_by_role("link", name="Change the sequences").click()
        assert visit.page.get_by_label("Sequences").input_value().startswith(">")


def test_a_restart_in_the_middle_is_told_and_survived(visit: Visit, server: PageServer) -> None:
    with held():
        page = visit.ask(fasta(3, 33))
        page.get_by_text("Completing").wait_for()
        server.stop()
        page.get_by_text("The server does not answer").wait_for()
    server.start()
    page.wait_for_selector("#map-title")
    assert page.locator("tbody tr").count() == 3
    visit.complaints.clear()  # Chromium's own lines about refused connections


@pytest.mark.parametrize("options", [{"color_scheme": "dark"}, {"viewport": {"width": 375, "height": 740}}], ids=str)
def test_dark_pages_and_phones_are_accessible_and_never_wider_than_their_screen(
    browser: Any, server: PageServer, options: dict[str, Any]
) -> None:
    visit = Visit(browser, server, **options)
    page = visit.ask(fasta(2, 60))
    page.wait_for_selector("#map-title")
    visit.require_accessible()
    page.get_by_role("link", name="protein_1", exact=True).click()
    page.wait_for_selector("#viewer[data-ready] #heatmap[data-drawn]")
    visit.require_accessible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 251)"
    assert light == ("color_scheme" not in options)
    visit.context.close()
    assert not visit.complaints and not visit.foreign


def test_without_script_a_form_still_leads_to_a_result(browser: Any, server: PageServer) -> None:
    visit = Visit(browser, server, java_script_enabled=False)
    page = visit.ask(fasta(1, 40))
    page.get_by_role("heading", name="protein_1").wait_for()
    page.locator("noscript img").first.wait_for()
    assert page.get_by_role("link", name="variants.csv").is_visible()
    visit.context.close()


def test_the_json_twin_says_what_the_page_says(visit: Visit) -> None:
    page = visit.ask(fasta(1, 26))
    page.wait_for_selector("#viewer[data-ready]")
    dossier = json.loads(page.evaluate("fetch(location.pathname + '.json').then((answer) => answer.text())"))
    assert dossier["id"] == page.locator("h1").inner_text()
    assert page_samples.fasta(1, 26).splitlines()[1] == dossier["sequence"]

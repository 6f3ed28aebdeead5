"""The site in a browser: filters, keyboard, pictures, and a phone."""

import shutil

import pytest

pytest.importorskip("jinja2", reason="the board's pages need jinja2")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    where = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not where:
        pytest.skip("no browser: apt-get install chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=where, args=["--no-sandbox"], timeout=60_000)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, evil_site):
    """`opened("index.html")` is the page in a browser, from the disk; what it logged and asked for is looked at."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: asked.append(request.url))

    def open_(name):
        page.goto((evil_site / name).as_uri())
        return page

    yield open_
    context.close()
    assert not said
    assert all(url.startswith((evil_site.as_uri(), "data:", "blob:")) for url in asked), asked


def systems(page):
    return page.locator("[data-board] tbody th").all_inner_texts()


@pytest.mark.slow
def test_the_board_filters_and_sorts(opened):
    page = opened("index.html")
    assert systems(page) == ["bright", "dull"]
    page.get_by_role("button", name="System").click()
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("System")
    page.get_by_role("button", name="System").click()
    assert systems(page) == ["dull", "bright"]
    page.get_by_label("Family").select_option("dense")
    assert systems(page) == ["dull"] and page.get_by_role("status").inner_text() == "1 of 2 rows"
    assert "family=dense" in page.url
    page.reload()
    assert systems(page) == ["dull"]
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Find").fill("BRI")
    assert systems(page) == ["bright"]
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Model size").select_option("up to 150 M")
    assert systems(page) == ["bright"]  # it has no model; the other has 200 million parameters


@pytest.mark.slow
def test_the_keyboard_is_enough(opened):
    page = opened("index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("button", name="System").focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort=ascending]").count() == 1


@pytest.mark.slow
def test_a_pair_opens_from_its_dataset_with_texts_as_texts(opened):
    page = opened("index.html")
    page.get_by_role("link", name="evil/test", exact=True).first.click()
    page.locator(".matrix td a").last.click()
    assert page.get_by_role("heading", name="Questions that flip").is_visible()
    flip = page.locator("details.flip").first
    flip.locator("summary").click()
    assert "<script>alert('pwned')" in flip.inner_text()
    assert flip.locator("ol li").first.is_visible()


@pytest.mark.slow
def test_the_picture_is_drawn_and_leads_to_records(opened, evil_site):
    page = opened("picture.html")
    if not (evil_site / "static" / "plotly.min.js").is_file():
        pytest.skip("the package plotly is not installed")
    page.wait_for_selector("#plot .main-svg")
    assert page.locator("#still").is_hidden()
    page.get_by_role("combobox", name="Dataset").select_option(label="evil/test")
    assert page.locator("#front tbody tr").count() >= 1
    page.get_by_role("combobox", name="View").select_option("all")
    assert page.locator("#plot .subplot").count() > 1
    page.get_by_role("combobox", name="View").select_option("one")
    page.locator("#front tbody a").first.click()
    assert "/record/" in page.url


@pytest.mark.slow
def test_every_kind_of_page_opens_on_a_phone_without_a_sideways_scroll(opened, evil_site):
    for name in ("index.html", "records.html", "picture.html", *(
        next(iter(sorted((evil_site / kind).glob("*.html")))).relative_to(evil_site).as_posix()
        for kind in ("dataset", "record", "pair")
    )):  # fmt: skip
        page = opened(name)
        page.set_viewport_size({"width": 360, "height": 740})
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, f"{name} is {wide} wide"

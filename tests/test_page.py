"""The page without a browser: questions checked, results kept and found again, every text escaped, every file there."""

import csv
import io
import json
import os
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from openankh.dossier.options import DossierOptions
from openankh.errors import UserError
from openankh.serve.app import create_app
from openankh.serve.model_host import ModelHost
from openankh.serve.pages.asked import MOST_PROTEINS, asked
from openankh.serve.pages.examples import example_fasta, examples
from openankh.serve.pages.reception import Reception
from openankh.serve.pages.results import Results
from openankh.serve.pages.view import environment
from openankh.serve.settings import Settings
from page_samples import PATIENCE, fasta, held, page_settings

LETTERS = "ACDEFGHIKLMNPQRSTVWYXBOUZ"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, ModelHost]:
    return page_settings(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def client(parts: tuple[Settings, ModelHost]) -> Iterator[TestClient]:
    with TestClient(create_app(*parts), base_url="http://127.0.0.1") as client:
        yield client


def ask(client: TestClient, text: str, variants: str = "auto") -> str:
    """The address of the result."""
    answer = client.post("/results", data={"fasta": text, "variants": variants}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def wait_for(client: TestClient, place: str) -> None:
    """Until the result is whole."""
    reception: Reception = client.app.state.reception  # type: ignore[attr-defined]  # pyright: ignore
    result = reception.desk.results.find(place.rpartition("/")[2])
    assert result is not None
    end = time.monotonic() + PATIENCE
    while not result.is_whole:
        standing = reception.desk.standing(result)
        assert standing.state in ("waiting", "working", "done") and time.monotonic() < end, standing
        time.sleep(0.01)


@pytest.fixture(scope="module")
def place(client: TestClient) -> str:
    """A result of three proteins, one with an id that would like to be a script."""
    found = ask(
        client, ">a family=x\nMKTAYIAKQR\n><script>alert('1')</script> \"&\x07\nMKTAYIAKQRQISFVK\n>c\nGSHMASMTGG\n"
    )
    wait_for(client, found)
    return found


def test_the_form_is_there_and_its_twin(client: TestClient) -> None:
    assert "Protein sequences in" in client.get("/").text
    told = client.get("/index.json").json()
    assert [each["name"] for each in told["examples"]] == [each.name for each in examples()]


def test_a_question_leads_to_its_result_and_the_same_question_to_the_same(client: TestClient, place: str) -> None:
    page = client.get(place)
    assert page.status_code == 200 and "3 proteins" in page.text
    assert ask(client, example_fasta("one") or "", "none") != place
    known = client.get(f"{place}.json").json()
    assert [line["id"] for line in known["lines"]] == ["a", "<script>alert('1')</script>", "c"]
    assert client.get("/", params={"from": place.rpartition("/")[2]}).text.count("GSHMASMTGG") == 1


def test_a_single_protein_has_its_own_page_at_once(client: TestClient) -> None:
    place = ask(client, "MKTAYIAKQRQISFVK")
    wait_for(client, place)
    assert client.get(place).url.path == f"{place}/1"
    assert "<h1>protein</h1>" in client.get(place).text


@pytest.mark.parametrize("page", ["", "/1", "/2", "/3", "?by=length", "?by=nonsense"])
def test_pages_escape_ids_and_have_no_inline_script_or_style(client: TestClient, place: str, page: str) -> None:
    text = client.get(place + page).text
    assert ("<script>alert" not in text and "alert(&#39;1&#39;)" in text) or page in ("/1", "/3")
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:", text)
    assert "\x07" not in text
    for address in re.findall(r'(?:src|href)="([^"#]*)"', text):
        assert address.startswith("/") and not address.startswith("//"), address


def test_the_twin_of_a_protein_is_the_dossier_as_it_is_kept(client: TestClient, place: str) -> None:
    dossier = client.get(f"{place}/2.json").json()
    assert dossier["sequence"] == "MKTAYIAKQRQISFVK"
    assert np.array(dossier["variants"]["scores"]).shape == (16, 20)
    assert {track["task"] for track in dossier["tracks"]} == {"secondary-structure"}


def test_every_file_that_a_page_names_is_there_and_is_what_its_name_says(client: TestClient, place: str) -> None:
    for page in (place, f"{place}/2"):
        links = re.findall(r'href="([^"]*/files/[^"]*)"', client.get(page).text)
        assert len(links) >= 8
        for link in links:
            answer = client.get(link.replace("&amp;", "&"))
            assert answer.status_code == 200 and answer.content, link
            assert answer.headers["content-disposition"].startswith('attachment; filename="')
            if ".csv" in link:
                assert list(csv.reader(io.StringIO(answer.text)))


def test_the_archive_holds_all_proteins(client: TestClient, place: str) -> None:
    with zipfile.ZipFile(io.BytesIO(client.get(f"{place}/files/everything.zip").content)) as archive:
        assert archive.testzip() is None
        assert {"overview.csv", "embeddings.npz", "1/variants.csv", "3/dossier.json"} <= set(archive.namelist())
        assert json.loads(archive.read("2/dossier.json")) == client.get(f"{place}/2.json").json()


def test_embeddings_come_in_the_stores_own_formats(client: TestClient, place: str) -> None:
    with np.load(io.BytesIO(client.get(f"{place}/files/embeddings.npz").content)) as archive:
        assert any(array.shape == (24,) for array in archive.values())
    assert client.get(f"{place}/files/embeddings.h5").content.startswith(b"\x89HDF")


BAD = {
    "": "is empty",
    "   \n": "is empty",
    ">a\n>b\nMK": "line 1: record 'a' has no sequence",
    ">a\nMK1T": "line 2, column 3: record 'a': '1'",
    "hello world 123": "line 1",
    "MKTAY\nMK T": "line 2, column 3: record 'protein': ' '",
    ">\nMKT": "line 1: the header is empty",
    ">a\n" + "A" * 5_001: "is longer than 5,000 residues",
    "".join(f">p{n}\nMK\n" for n in range(MOST_PROTEINS + 1)): "more than 1,000 proteins",
    "".join(f">p{n}\n{'M' * 4_000}\n" for n in range(80)): "320,000 residues together",
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:12]))
def test_a_bad_question_comes_back_with_the_readers_verdict_at_the_field(client: TestClient, text: str) -> None:
    answer = client.post("/results", data={"fasta": text}, follow_redirects=False)
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text and 'role="alert"' in answer.text
    (problem,) = re.findall(r'id="fasta-problem" role="alert">([^<]*)<', answer.text)
    assert BAD[text] in problem.replace("&#39;", "'") and problem.startswith("FASTA")
    with pytest.raises(UserError, match="FASTA"):
        asked(text, DossierOptions(), LETTERS)


def test_options_that_there_are_not_and_strange_forms_are_refused(client: TestClient) -> None:
    assert "not one of" in client.post("/results", data={"fasta": ">a\nMK", "variants": "x"}).text
    for body in (b"\xff\xfe", b"&".join(b"a=1" for _ in range(99)), b"fasta", b"%ff=%zz"):
        assert client.post("/results", content=body).status_code == 422
    assert client.post("/results", data={"example": "../../etc"}).status_code == 422


def test_a_bare_sequence_is_one_protein_and_bytes_that_are_not_utf8_are_kept(client: TestClient) -> None:
    (record,) = asked(" mktay\n iakqr*\n", DossierOptions(), LETTERS).records
    assert (record.id, record.sequence) == ("protein", "MKTAYIAKQR")
    answer = client.post("/results", content=b"fasta=%3E%ff%fe%0AMKTAY&variants=none", follow_redirects=False)
    wait_for(client, answer.headers["location"])
    page = client.get(answer.headers["location"])
    assert page.status_code == 200 and "<h1>" in page.text
    written = client.get(answer.headers["location"] + "/1/files/protein.fasta").content
    assert written == b">\xff\xfe\nMKTAY\n"


@pytest.mark.parametrize("name", ["../../etc/passwd", "x" * 24, "0" * 23, "0" * 24, "%00", "input.fasta"])
def test_names_never_become_paths(client: TestClient, name: str, place: str) -> None:
    for address in (f"/results/{name}", f"/results/{name}.json", f"/results/{name}/1", f"{place}/files/{name}"):
        assert client.get(address).status_code in (404, 422)
    assert client.get(f"{place}/1/files/{name}").status_code == 404
    assert client.get(f"{place}/99").status_code == 404 and client.get(f"{place}/0").status_code == 422


def test_pages_of_other_sites_cannot_ask(client: TestClient) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post("/results", data={"example": "one"}, headers=headers).status_code == 403


@pytest.mark.usefixtures("place")
def test_a_server_started_anew_goes_on_with_what_was_begun(
    parts: tuple[Settings, ModelHost],
) -> None:
    with held(), TestClient(create_app(*parts), base_url="http://127.0.0.1") as client:
        place = ask(client, fasta(2, 30))
        assert client.get(f"{place}.json").status_code == 202
    assert parts[0].results is not None
    begun = Results(parts[0].results).find(place.rpartition("/")[2])
    assert begun is not None and not begun.is_whole
    with TestClient(create_app(*parts), base_url="http://127.0.0.1") as client:
        assert client.get(f"{place}.json").status_code in (200, 202)
        wait_for(client, place)
        assert "2 proteins" in client.get(place).text


def test_a_cancelled_question_stays_so_until_it_is_asked_again(client: TestClient) -> None:
    with held():
        place = ask(client, fasta(2, 35))
        assert client.post(f"{place}/cancel", follow_redirects=False).status_code == 303
        assert client.get(f"{place}.json").json()["state"] in ("cancelled", "working")
        assert client.post(f"{place}/again", follow_redirects=False).headers["location"] == place
    wait_for(client, place)


def test_results_that_nobody_visits_are_forgotten_after_thirty_days(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for name, days in (("a" * 24, 31), ("b" * 24, 29), ("other", 99)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "input.fasta").write_text(">a\nMK\n")
        then = time.time() - days * 86_400
        os.utime(tmp_path / name, (then, then))
    results.forget_old()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b" * 24, "other"]


def test_all_templates_compile_and_examples_are_bundled_proteins() -> None:
    for name in environment().list_templates():
        environment().get_template(name)
    for example in examples():
        assert (example_fasta(example.name) or "").count(">") == len(example.ids)
    assert example_fasta("nothing") is None


def test_the_pictures_of_the_documentation_are_there_and_small(repository: Path) -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (repository / "docs" / "page.md").read_text())
    assert len(pictures) == 3
    for name in pictures:
        picture = (repository / "docs" / name).read_bytes()
        assert picture.startswith(b"\x89PNG") and len(picture) < 300_000

"""The state folder: private secrets, one owner."""

import subprocess
import sys
from pathlib import Path

import pytest

from local.home import AlreadyRunning, Home
from shared.errors import ConfigurationError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "state")
    home.prepare()
    return home


def test_secrets_are_made_once_and_only_their_owner_reads_them(home: Home) -> None:
    made = home.secrets()
    assert len(made.secret_key) >= 32
    assert home.secrets() == made
    assert (home.folder / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_the_api_key_is_kept_beside_the_other_secrets(home: Home) -> None:
    made = home.secrets()
    home.keep_api_key("dr_x_y")
    assert (home.secrets().api_key, home.secrets().secret_key) == ("dr_x_y", made.secret_key)


def test_damaged_secrets_are_not_replaced_in_silence(home: Home) -> None:
    (home.folder / "secrets.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"secrets\.json is damaged"):
        home.secrets()


def test_a_second_owner_is_refused_until_the_first_is_dead(home: Home) -> None:
    code = (
        "import sys, time; from pathlib import Path; from local.home import Home\n"
        "with Home(Path(sys.argv[1])).owned(): print('mine', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(home.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(AlreadyRunning), home.owned():
            pass
        other.kill()
        other.wait()
    with home.owned():
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="DARKROOM_HOME"):
        Home(tmp_path / "file" / "state").prepare()

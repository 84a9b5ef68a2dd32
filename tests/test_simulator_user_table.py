from __future__ import annotations

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.user_table import UserTable


def test_a_user_has_one_row_under_every_name() -> None:
    table: UserTable[list[str]] = UserTable(list)
    table[User(phone="4915550002222", user_id="DE.1", parent_user_id="DE.ENT.1")].append("one")
    names = [User(phone="4915550002222"), User(user_id="DE.1"), User(user_id="DE.ENT.1")]
    assert [table[user] for user in names] == [["one"]] * 3


def test_another_user_has_another_row() -> None:
    table: UserTable[list[str]] = UserTable(list)
    table[User(phone="4915550002222")].append("one")
    assert table[User(phone="4915550003333")] == []
    assert table[User(user_id="DE.1")] == []


def test_a_row_is_found_by_a_name_that_is_learnt_later() -> None:
    table: UserTable[list[str]] = UserTable(list)
    table[User(phone="4915550002222")].append("one")
    assert table[User(phone="4915550002222", user_id="DE.1")] == ["one"]
    assert table[User(user_id="DE.1")] == ["one"]

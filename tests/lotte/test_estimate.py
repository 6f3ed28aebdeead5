"""What a long step is said to take: the line through two small ones, and what a machine has too little of."""

import pytest

from lotte.estimate import Estimate, shortage, total


def test_a_total_adds_times_and_takes_the_largest_memory():
    steps = [Estimate(step="a", seconds=2, memory=5e6, disk=1e6, scratch=3e6), Estimate(step="b", seconds=70, memory=4e6, disk=1e6)]
    row = {"step": "total", "time": "1:12", "seconds": 72, "memory_mb": 5, "disk_mb": 2.0, "scratch_mb": 3.0}
    assert total(steps).row() == row


@pytest.mark.parametrize("huge", [{"disk": 1e18}, {"scratch": 1e18}, {"memory": 1e18}])
def test_what_the_machine_has_too_little_of_is_a_line(tmp_path, huge):
    (line,) = shortage(Estimate(step="a", seconds=1, **huge), tmp_path / "out")
    assert "and this takes 1,000,000,000,000 MB" in line


def test_where_there_is_room_nothing_is_said(tmp_path):
    assert shortage(Estimate(step="a", seconds=1, memory=1.0, disk=1.0), tmp_path / "out") == []

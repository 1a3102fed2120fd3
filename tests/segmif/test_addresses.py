"""No password of an address is shown."""

import pytest

from segmif.addresses import masked


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://user:pass@cam:554/live?x=1", "rtsp://user:***@cam:554/live?x=1"),
        ("rtsp://user:p@ss@cam/live", "rtsp://user:***@cam/live"),
        ("rtsp://user:p/a?s#s@cam/live", "rtsp://user:***@cam/live"),
        ("rtsp://user:@cam/live", "rtsp://user:***@cam/live"),
        ("rtsp://user@cam/live", "rtsp://user@cam/live"),
        ("rtsp://cam:554/live@1", "rtsp://cam:554/live@1"),
        ("rtsp://[fe80::1]:554/live@1", "rtsp://[fe80::1]:554/live@1"),
        ("http://cam/mjpg?user=a&Password=b&fps=5", "http://cam/mjpg?user=a&Password=***&fps=5"),
        ("http://cam/x?access_token=b", "http://cam/x?access_token=***"),
        ("udp://239.0.0.1:5000?pkt_size=1316", "udp://239.0.0.1:5000?pkt_size=1316"),
        (
            "no 'rtsp://a:b@cam/1', nor rtsp://c:d@cam/2",
            "no 'rtsp://a:***@cam/1', nor rtsp://c:***@cam/2",
        ),
        ("'rtsp://a:it's b\"<c@cam/1' is lost", "'rtsp://a:***@cam/1' is lost"),
        ("rtsp:/user:pass@cam/x.mkv", "rtsp:/user:***@cam/x.mkv"),  # as a path has it
        ("rtsp://cam:554 and you@home", "rtsp://cam:554 and you@home"),
        ("day.mcap:/front/image", "day.mcap:/front/image"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_passwords_are_masked(address: str, shown: str) -> None:
    assert masked(address) == shown

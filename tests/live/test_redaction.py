"""No secret of a URL gets out. The strongest form: what is shown does not depend on the secret at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsr.live.redaction import redact, redact_text

SCHEMES = st.sampled_from(["rtsp", "rtsps", "rtmp", "rtmps", "srt", "http", "https", "udp", "RTSP"])
ANY = st.text(min_size=1, max_size=20)
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
WORD = st.text(st.characters(categories=["L", "N"], max_codepoint=0x17F), min_size=1, max_size=12)
SECRET_KEYS = st.sampled_from(["token", "key", "pass", "password", "passphrase", "pwd", "auth", "sig", "streamid", "X-Signature", "user"])
PATHS = st.sampled_from(["", "/a", "/a/b?mode=caller"])


@given(scheme=SCHEMES, user=ANY, first=ANY, second=ANY, port=st.sampled_from(["", ":554"]), path=PATHS)
def test_user_and_password_do_not_show(scheme: str, user: str, first: str, second: str, port: str, path: str) -> None:
    secrets = [f"{user}:{first}", f"u:{second}", first, f"{second}:"]
    shown = {redact(f"{scheme}://{secret}@cam.example{port}{path}") for secret in secrets}
    assert len(shown) == 1
    assert shown.pop().startswith(f"{scheme}://***@cam.example{port}")


@given(scheme=SCHEMES, key=SECRET_KEYS, value=st.text(st.characters(exclude_characters="&@ "), min_size=1))
def test_secret_parameters_do_not_show(scheme: str, key: str, value: str) -> None:
    assert redact(f"{scheme}://host:9000?mode=caller&{key}={value}&latency=200") == f"{scheme}://host:9000?mode=caller&{key}=***&latency=200"


@given(app=WORD, key=st.text(st.characters(exclude_characters="/?@# "), min_size=1), slash=st.sampled_from(["", "/"]))
def test_rtmp_stream_keys_do_not_show(app: str, key: str, slash: str) -> None:
    shown = redact(f"rtmp://live.example/{app}x/{key}{slash}")
    assert shown == redact(f"rtmp://live.example/{app}x/other")
    assert shown.endswith("/***")


@given(text=PRINTABLE, password=ANY)
def test_no_known_url_shows_in_any_text(text: str, password: str) -> None:
    url = f"rtsp://admin:{password}@cam/stream"
    for quoted in (url, f"'{url}':", repr(url)[1:-1]):
        shown = redact_text(f"{text} [Errno 13] {quoted} failed", url)
        assert shown == f"{redact_text(text)} [Errno 13] {quoted.replace(url, redact(url)) if url in quoted else redact(url)} failed"


@given(password=PRINTABLE, quote=st.sampled_from(["", "'", '"', "<"]))
def test_no_unknown_url_shows_in_a_text(password: str, quote: str) -> None:
    end = {"<": ">"}.get(quote, quote)
    text = f"[Errno 13] {quote}rtsp://admin:{password}@cam/stream{end}: failed"
    assert redact_text(text) == f"[Errno 13] {quote}rtsp://***@cam/stream{end}: failed"


@given(st.one_of(ANY, st.builds("{}://{}".format, SCHEMES, ANY)))
def test_redacting_again_changes_nothing(url: str) -> None:
    assert redact(redact(url)) == redact(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://camera/stream", "rtsp://camera/stream"),
        ("rtsp://camera:554/cam/realmonitor?channel=1&subtype=0", "rtsp://camera:554/cam/realmonitor?channel=1&subtype=0"),
        ("rtsp://admin:p/a?s#s@w@cam:554/live", "rtsp://***@cam:554/live"),
        ("rtsp://token@cam/live", "rtsp://***@cam/live"),
        ("rtsp://admin:half", "rtsp://***"),
        ("rtsp://10.0.0.5/user=admin_password=tlJwp_channel=1_stream=0.sdp", "rtsp://10.0.0.5/user=***"),
        ("rtmp://a.rtmp.example/live2/abcd-efgh-ijkl", "rtmp://a.rtmp.example/live2/***"),
        ("rtmp://host/app/key?auth=1", "rtmp://host/app/***?auth=***"),
        ("rtmp://host/app/key live=1 pubPasswd=secret", "rtmp://host/app/*** ***"),
        ("srt://host:9000?streamid=#!::u=admin,p=secret&passphrase=longer-than-ten&mode=caller", "srt://host:9000?streamid=***&passphrase=***&mode=caller"),
        ("srt://:9000?mode=listener", "srt://:9000?mode=listener"),
        ("https://cdn/live.m3u8?hdnts=exp~hmac", "https://cdn/live.m3u8?hdnts=***"),
        ("https://cdn/live.m3u8?bare", "https://cdn/live.m3u8?***"),
        ("https://cdn/live.m3u8#token=x", "https://cdn/live.m3u8#token=***"),
        ("udp://[ff02::1%eth0]:5000?pkt_size=1316", "udp://[ff02::1%eth0]:5000?pkt_size=1316"),
        ("cache:http://u:p@host/x", "cache:http://***@host/x"),
        ("/dev/video0", "/dev/video0"),
        ("-", "-"),
        ("mail@home.mp4", "mail@home.mp4"),
    ],
)  # fmt: skip
def test_known_forms(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_a_sentence_keeps_its_words_and_punctuation() -> None:
    text = "[Errno 111] Connection refused: 'rtsp://u:p@cam/x'; tried rtmp://h/live/key, then http://h/a."
    assert redact_text(text) == "[Errno 111] Connection refused: 'rtsp://***@cam/x'; tried rtmp://h/live/***, then http://h/a."


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp"])
@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("live/3fa85f6457174562b3fc2c963f66afa6/index.m3u8", "live/***/index.m3u8"),
        ("live/3fa85f64-5717-4562-b3fc-2c963f66afa6.m3u8", "live/***"),
        ("token/hunter2/stream", "token/***/stream"),
        ("hls/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N/a.ts", "hls/***/a.ts"),
        ("Streaming/Channels/101", "Streaming/Channels/101"),
        ("videos/summer-holiday-in-the-mountains.mp4", "videos/summer-holiday-in-the-mountains.mp4"),
        ("cam/realmonitor?channel=1&subtype=0&auth=hunter2#hunter2", "cam/realmonitor?channel=1&subtype=0&auth=***"),
    ],
)
def test_keys_in_paths_do_not_show(scheme: str, path: str, shown: str) -> None:
    assert redact(f"{scheme}://host/{path}") == f"{scheme}://host/{shown}"

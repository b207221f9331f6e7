"""What each operation sends, and what it makes of the answers."""

import json
from typing import Any

import pytest

from sadik_client import (
    DELETE,
    AnswerError,
    BatchDelete,
    BatchGet,
    BatchPut,
    BrokenAnswerError,
    ConflictError,
    Content,
    ContextRequiredError,
    Entry,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    Resolution,
    Settings,
    SiblingsError,
    TooLargeError,
    UnavailableError,
    Version,
)
from scripted_nodes import World, answer, json_answer, problem

SIBLINGS = {
    "context": "c",
    "siblings": [
        {"value_b64": "bWlsaw==", "content_type": "text/plain", "meta": {"by": "ada"},
         "etag": '"1"', "last_modified": "then"},
        {"value_b64": "YnJlYWQ="},
    ],
}  # fmt: skip


def test_a_get_gives_value_and_everything_about_it() -> None:
    world = World("n1")
    world.script(
        "n1",
        answer(200, b"hello", sadik_context="c", etag='"e"', content_type="text/plain",
               last_modified="then", sadik_node="n1", sadik_meta_Author="Ada Löwe",
               sadik_replies="needed=2, got=2, primaries=1", sadik_ttl="7", sadik_siblings="3"),
    )  # fmt: skip
    entry = world.run(world.core.get("notes", "größe/1"))
    assert entry == Entry(
        "notes", "größe/1".encode(),
        (Version(b"hello", "text/plain", {"author": "Ada Löwe"}, '"e"', "then", 7),),
        "c", '"e"', "n1", {"needed": 2, "got": 2, "primaries": 1}, False, 2,
    )  # fmt: skip
    assert (entry.value, entry.text, entry.exists) == (b"hello", "hello", True)
    (seen,) = world.seen
    assert (seen.method, seen.target) == ("GET", "/v1/kv/notes/gr%C3%B6%C3%9Fe/1")
    assert seen.headers["host"] == "n1:7070"
    assert "content-length" not in seen.headers


def test_a_key_that_is_not_there_and_one_that_was() -> None:
    world = World("n1")
    world.script("n1", problem(404), answer(404, sadik_context="c"))
    never = world.run(world.core.get("b", "k"))
    deleted = world.run(world.core.get("b", "k"))
    assert (never.exists, never.is_deleted, never.context) == (False, False, None)
    assert (deleted.exists, deleted.is_deleted, deleted.context) == (False, True, "c")
    with pytest.raises(NotFoundError, match="b/k was deleted"):
        _ = deleted.value
    with pytest.raises(LookupError, match="is not there"):
        _ = never.text


def test_siblings_are_shown_and_one_value_of_them_is_refused() -> None:
    world = World("n1")
    world.script("n1", json_answer(SIBLINGS, 300, sadik_context="c"))
    entry = world.run(world.core.get("b", "k"))
    assert entry.values == (b"milk", b"bread")
    assert entry.versions[0].meta == {"by": "ada"}
    assert entry.versions[1].content_type == "application/octet-stream"
    with pytest.raises(SiblingsError) as caught:
        _ = entry.value
    assert caught.value.entry is entry


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"siblings": []}', b'{"siblings": [1, 2]}',
                                  b'{"siblings": [{"value_b64": "YQ=="}]}'])  # fmt: skip
def test_siblings_that_are_none_are_told(body: bytes) -> None:
    world = World("n1")
    world.script("n1", answer(300, body, content_type="application/json"))
    with pytest.raises(BrokenAnswerError):
        world.run(world.core.get("b", "k"))


@pytest.mark.parametrize(
    ("resolution", "body", "content_type", "meta"),
    [(b"both", b"both", None, None), ("beides", b"beides", "text/plain; charset=utf-8", None),
     (Content(b"x", "a/b", {"n": "1"}), b"x", "a/b", "1"),
     (Version(b"old", "c/d", {"n": "2"}, '"e"', "then", 0), b"old", "c/d", "2")],
)  # fmt: skip
def test_a_resolver_makes_siblings_one_with_the_context_of_the_read(
    resolution: Resolution, body: bytes, content_type: str | None, meta: str | None
) -> None:
    shown: list[Entry] = []

    def resolve(entry: Entry) -> Resolution:
        shown.append(entry)
        return resolution

    world = World("n1", resolver=resolve)
    world.script(
        "n1",
        json_answer(SIBLINGS, 300, sadik_context="both"),
        answer(204, sadik_context="one", etag='"n"'),
    )
    entry = world.run(world.core.get("b", "k"))
    assert shown[0].values == (b"milk", b"bread")
    assert (entry.value, entry.context, entry.etag) == (body, "one", '"n"')
    put = world.seen[1]
    assert (put.method, put.body) == ("PUT", body)
    assert put.headers["sadik-context"] == "both"
    assert put.headers.get("content-type") == content_type
    assert put.headers.get("sadik-meta-n") == meta
    assert put.headers.get("sadik-ttl") == ("1" if isinstance(resolution, Version) else None)


def test_a_resolver_can_delete_and_must_not_forget_to_return() -> None:
    world = World("n1")
    siblings = json_answer(SIBLINGS, 300, sadik_context="both")
    world.script("n1", siblings, answer(204, sadik_context="gone"))
    entry = world.run(world.core.get("b", "k", resolver=lambda entry: DELETE))
    assert (entry.exists, entry.is_deleted, entry.context) == (False, True, "gone")
    assert (world.seen[1].method, world.seen[1].headers["sadik-context"]) == ("DELETE", "both")
    world.script("n1", siblings)
    with pytest.raises(TypeError, match="NoneType"):
        world.run(world.core.get("b", "k", resolver=lambda entry: None))  # type: ignore[arg-type,return-value]


def test_a_resolution_that_cannot_be_written_is_told_and_not_repeated() -> None:
    world = World("n1", "n2", resolver=lambda entry: b"x")
    siblings = json_answer(SIBLINGS, 300, sadik_context="both")
    world.script("n1", siblings, problem(504, outcome="indeterminate"))
    with pytest.raises(AnswerError) as caught:
        world.run(world.core.get("b", "k"))
    assert caught.value.outcome == "indeterminate"
    assert len(world.seen) == 2


def test_a_get_can_be_told_everything_of_the_contract() -> None:
    world = World("n1")
    world.script("n1", answer(304, sadik_context="c", etag='"e"'))
    entry = world.run(
        world.core.get("b", "k", r=2, pr="one", sloppy=False, latest=True, context="s",
                       if_none_match='"e"')
    )  # fmt: skip
    assert (entry.is_unmodified, entry.exists, entry.versions) == (True, True, ())
    (seen,) = world.seen
    assert seen.target == "/v1/kv/b/k?r=2&pr=one&sloppy=false&resolve=latest"
    assert (seen.headers["sadik-context"], seen.headers["if-none-match"]) == ("s", '"e"')


def test_a_put_can_be_told_everything_of_the_contract() -> None:
    world = World("n1")
    world.script(
        "n1",
        answer(200, b"v", sadik_context="c2", etag='"n"', sadik_node="n2",
               sadik_acks="needed=2, got=3, durable=3, primaries=2, hinted=1"),
    )  # fmt: skip
    written = world.run(
        world.core.put(
            "b", b"\x00/..//%", b"v", context="c1", content_type="a/b", meta={"Author": "Löwe"},
            ttl_s=60, if_match='"e"', if_none_match="*", w="all", pw=1, dw=0, sloppy=True,
            return_body=True,
        )
    )  # fmt: skip
    (seen,) = world.seen
    assert seen.target == "/v1/kv/b/%00/..//%25?w=all&pw=1&dw=0&sloppy=true&return=body"
    wanted = {"sadik-context": "c1", "content-type": "a/b", "sadik-meta-author": "Löwe",
              "sadik-ttl": "60", "if-match": '"e"', "if-none-match": "*",
              "content-length": "1"}  # fmt: skip
    assert {name: seen.headers[name] for name in wanted} == wanted
    assert (written.context, written.etag, written.node) == ("c2", '"n"', "n2")
    assert written.acks == (2, 3, 3, 2, 1)
    assert written.entry is not None
    assert written.entry.value == b"v"


def test_an_empty_value_is_a_value() -> None:
    world = World("n1")
    world.run(world.core.put("b", "k", b""))
    assert world.seen[0].headers["content-length"] == "0"


def test_deletes_tell_whether_there_was_something() -> None:
    world = World("n1")
    world.script("n1", answer(204, sadik_context="c", sadik_acks="needed=2, got=2"), problem(404))
    done = world.run(world.core.delete("b", "k", context="c0", r=3, if_match='"e"'))
    assert (done.existed, done.context, done.acks.got) == (True, "c", 2)
    assert world.run(world.core.delete("b", "k")).existed is False
    assert world.seen[0].target == "/v1/kv/b/k?r=3"
    assert world.seen[0].headers["if-match"] == '"e"'


def test_a_head_tells_all_but_the_value() -> None:
    world = World("n1")
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: a/b\r\nsadik-meta-n: 1\r\n"
    world.script("n1", head + b"etag: x\r\nsadik-context: c\r\n\r\n", answer(404))
    found = world.run(world.core.head("b", "k"))
    assert (found.exists, found.has_siblings, found.meta) == (True, False, {"n": "1"})
    assert (found.content_type, found.etag, found.context) == ("a/b", "x", "c")
    assert not world.run(world.core.head("b", "k")).exists
    assert [seen.method for seen in world.seen] == ["HEAD", "HEAD"]
    assert len(world.links) == 1, "the answer's length was not waited for"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, AnswerError), (401, ForbiddenError), (403, ForbiddenError), (409, ConflictError),
     (412, PreconditionFailedError), (413, TooLargeError), (428, ContextRequiredError),
     (431, TooLargeError), (507, UnavailableError)],
)  # fmt: skip
def test_refusals_are_told_apart(status: int, kind: type[AnswerError]) -> None:
    world = World("n1", "n2")
    world.script("n1", problem(status, "no", detail="because", type="urn:x", outcome="not_applied"))
    with pytest.raises(kind) as caught:
        world.run(world.core.put("b", "k", b"v"))
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.title, error.detail, error.type) == (
        status, "no", "because", "urn:x",
    )  # fmt: skip
    assert error.outcome == "not_applied"
    assert str(error) == f"{status} no: because; nothing was applied"
    assert len(world.seen) == 1


def test_a_batch_is_sent_in_order_and_answered_in_order() -> None:
    world = World("n1")
    lines: list[dict[str, Any]] = [
        {"status": 204, "context": "c"}, {"status": 200, "value_b64": "dg==", "context": "c"},
        {"status": 503, "title": "no quorum", "outcome": "not_applied"},
    ]  # fmt: skip
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    world.script("n1", answer(200, body, content_type="application/x-ndjson"))
    results = world.run(
        world.core.batch(
            [BatchPut("b", "k ä", "v", "c0"), BatchGet("b", b"k"), BatchDelete("b", "k")]
        )
    )
    assert [(each.status, each.value, each.is_done) for each in results] == [
        (204, None, True), (200, b"v", True), (503, None, False),
    ]  # fmt: skip
    assert results[2].title == "no quorum"
    assert results[2].document["outcome"] == "not_applied"
    (seen,) = world.seen
    assert (seen.method, seen.target) == ("POST", "/v1/batch")
    assert [json.loads(line) for line in seen.body.splitlines()] == [
        {"op": "put", "bucket": "b", "key": "k%20%C3%A4", "value_b64": "dg==", "context": "c0"},
        {"op": "get", "bucket": "b", "key": "k"},
        {"op": "delete", "bucket": "b", "key": "k"},
    ]


def test_a_batch_of_reads_alone_is_a_read() -> None:
    world = World("n1", "n2")
    world.script("n1", problem(504))
    world.script("n2", answer(200, b'{"status": 404}\n'))
    assert world.run(world.core.batch([BatchGet("b", "k")]))[0].status == 404


@pytest.mark.parametrize("body", [b"", b'{"status": 204}\n', b"[]\n[]\n", b'{"status": "x"}\n{}\n'])
def test_a_batch_with_results_missing_is_told(body: bytes) -> None:
    world = World("n1")
    world.script("n1", answer(200, body))
    with pytest.raises(BrokenAnswerError):
        world.run(world.core.batch([BatchGet("b", "k"), BatchGet("b", "j")]))


def test_a_batch_beyond_the_bounds_is_refused_before_it_is_sent() -> None:
    world = World("n1")
    for operations in ([], [BatchGet("b", "k")] * 1001, [BatchPut("b", "k", bytes(13 * 2**20))]):
        with pytest.raises(InvalidRequestError):
            world.run(world.core.batch(operations))
    assert world.seen == []


def test_pages_of_keys() -> None:
    world = World("n1")
    world.script("n1", answer(200, b'{"key": "a%20b/%FF"}\n{"key": "c"}\n{"next": "~next~x"}\n'))
    page = world.run(world.core.list_page("b", prefix=b"\xff&", after="~n=1", limit=2))
    assert page == ((b"a b/\xff", b"c"), "~next~x")
    assert world.seen[0].target == "/v1/kv/b?prefix=%FF%26&after=~n%3D1&limit=2"


@pytest.mark.parametrize("body", [b"", b'{"key": "a"}\n', b"[]\n", b"<html>\n", b'{"key": 1}\n'])
def test_half_a_page_of_keys_is_no_page(body: bytes) -> None:
    world = World("n1")
    world.script("n1", answer(200, body))
    with pytest.raises(BrokenAnswerError):
        world.run(world.core.list_page("b"))


def test_buckets_and_views() -> None:
    world = World("n1")
    core = world.core
    world.default = lambda seen: json_answer({"asked": seen.target, "buckets": [{"bucket": "b"}]})
    assert world.run(core.get_bucket("b"))["asked"] == "/v1/buckets/b"
    world.run(core.set_bucket("b", {"w": "all", "ttl_seconds": None}))
    assert json.loads(world.seen[-1].body) == {"w": "all", "ttl_seconds": None}
    world.run(core.reset_bucket("b"))
    assert world.run(core.list_buckets()) == [{"bucket": "b"}]
    assert world.run(core.view("status"))["asked"] == "/v1/status"
    assert world.run(core.explain("b", "k k"))["asked"] == "/v1/explain/b/k%20k"
    methods = [(seen.method, seen.target) for seen in world.seen]
    assert methods[1:3] == [("PUT", "/v1/buckets/b"), ("DELETE", "/v1/buckets/b")]
    world.default = lambda seen: answer(200, b"[1]", content_type="application/json")
    with pytest.raises(BrokenAnswerError):
        world.run(core.view("status"))


def test_any_other_request_gives_its_answer_as_it_is() -> None:
    world = World("n1")
    world.script("n1", problem(404, "no such member"))
    response = world.run(
        world.core.request("POST", "/v1/members/n9/leave", headers={"X-A": "b"}, body=b"")
    )
    assert (response.status, response.url) == (404, "http://n1:7070")
    assert response.complaint == "404 no such member"
    assert world.seen[0].headers["x-a"] == "b"


@pytest.mark.parametrize("target", ["", "v1", "/a b", "/a\r\nX: y", "/ä"])
def test_a_target_that_is_no_path_is_refused(target: str) -> None:
    world = World("n1")
    with pytest.raises(InvalidRequestError):
        world.run(world.core.request("GET", target))


@pytest.mark.parametrize(
    "options",
    [{"context": "c\r\nX: y"}, {"content_type": "a\nb"}, {"meta": {"a b": "c"}}, {"ttl_s": 0},
     {"meta": {"a": " padded "}}, {"if_match": "\0"}, {"meta": {"ä": "c"}}],
)  # fmt: skip
def test_what_would_break_a_header_is_refused(options: dict[str, Any]) -> None:
    world = World("n1")
    with pytest.raises(InvalidRequestError):
        world.run(world.core.put("b", "k", b"v", **options))
    assert world.seen == []


@pytest.mark.parametrize(("bucket", "key"), [("", "k"), ("a/b", "k"), ("b" * 65, "k"), ("b", ""),
                                             ("b", "k" * 401), ("b\n", "k")])  # fmt: skip
def test_names_that_no_node_takes_are_refused(bucket: str, key: str) -> None:
    world = World("n1")
    for steps in (world.core.get(bucket, key), world.core.delete(bucket, key)):
        with pytest.raises(InvalidRequestError):
            world.run(steps)


def test_a_token_is_sent_and_shown_nowhere() -> None:
    world = World("n1", token="s3cret", settings=Settings(ring=False, retries=False))
    world.script("n1", answer(204), problem(401), b"nonsense")
    world.run(world.core.put("b", "k", b"v"))
    assert world.seen[0].headers["authorization"] == "Bearer s3cret"
    for _ in range(2):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is
            world.run(world.core.put("b", "k", b"v"))
        assert "s3cret" not in repr(caught.value) + str(vars(caught.value))
    shown = [repr(each) for each in (world.core, world.core.nodes, world.core.nodes.first())]
    assert "s3cret" not in "".join(shown)

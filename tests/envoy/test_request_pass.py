"""What a real Envoy finds in a request: the model it asks for, and whether it wants a stream."""

from __future__ import annotations

import json

import pytest

from compiler.request import MalformedRequestError, Sent, read_request
from tests.envoy.served import Answer, Served

MI = 2**20
DEFAULT = "llama-70b"
BERT = "bert-1.5"

ROUTED = {
    "a name": (b'{"model":"bert-1.5"}', BERT),
    "an alias": (b'{"model":"bert"}', BERT),
    "the orchestrator": (b'{"model":"auto"}', DEFAULT),
    "no model": (b'{"messages":[]}', DEFAULT),
    "an empty object": (b"{}", DEFAULT),
    "null": (b'{"model":null}', DEFAULT),
    "an empty name": (b'{"model":""}', DEFAULT),
    "spaces everywhere": (b' \t\r\n{ "a" : [ ] , "model"\n:\t"bert" , "b" : { } } \n', BERT),
    "an escaped name": (rb'{"model":"\u0062er\u0074"}', BERT),
    "an escaped key": (rb'{"m\u006fdel":"bert"}', BERT),
    "an upper case key": (b'{"Model":"bert"}', DEFAULT),
    "the key given twice": (b'{"model":"llama-70b","model":"bert"}', BERT),
    "the key given twice, escaped once": (rb'{"mode\u006c":"bert","model":"llama-70b"}', DEFAULT),
    "twice, the last null": (b'{"model":"bert","model":null}', DEFAULT),
    "twice, the first no text": (b'{"model":5,"model":"bert"}', BERT),
    "a nested model": (b'{"metadata":{"model":"bert"}}', DEFAULT),
    "a nested model before": (b'{"metadata":{"model":"llama-70b"},"model":"bert"}', BERT),
    "a nested model after": (b'{"model":"bert","tools":[{"model":"llama-70b"}]}', BERT),
    "a model in a text": (rb'{"prompt":"\"model\":\"llama-70b\"","model":"bert"}', BERT),
    "a brace in a text": (b'{"prompt":"}{][","model":"bert"}', BERT),
    "a backslash at the end of a text": (rb'{"prompt":"\\","model":"bert"}', BERT),
    "all escapes": (rb'{"prompt":"\"\\\/\b\f\n\r\t\u00e9","model":"bert"}', BERT),
    "a surrogate pair": (rb'{"prompt":"\ud83d\ude00","model":"bert"}', BERT),
    "a lone surrogate": (rb'{"prompt":"\ud83d","model":"bert"}', BERT),
    "utf-8": ('{"prompt":"你好 😀 é","model":"bert"}'.encode(), BERT),
    "a delete character": (b'{"prompt":"\x7f","model":"bert"}', BERT),
    "numbers": (b'{"a":[0,-0,1,10,-1.5,0.25,1e9,1E+9,2.5e-3],"model":"bert"}', BERT),
    "literals": (b'{"a":[true,false,null],"stream":false,"model":"bert"}', BERT),
    "nested empties": (b'{"a":[[],{},[{}],{"b":[]}],"model":"bert"}', BERT),
    "99 deep": (b'{"a":' + b"[" * 99 + b"]" * 99 + b',"model":"bert"}', BERT),
    "2 MiB": (b'{"prompt":"' + b"x" * 2 * MI + b'","model":"bert"}', BERT),
    "2 MiB of escapes": (b'{"prompt":"' + b"\\n" * MI + b'","model":"bert"}', BERT),
    "100,000 numbers": (b'{"prompt":[' + b"1024," * 100_000 + b'1],"model":"bert"}', BERT),
}

MALFORMED = {
    "nothing but space": b"  ",
    "cut off after a key": b'{"model":',
    "cut off in a text": b'{"model":"bert',
    "cut off in an escape": rb'{"model":"bert\u00',
    "cut off after a value": b'{"model":"bert"',
    "cut off in an array": b'{"model":"bert","a":[1,',
    "a comma at the end of an object": b'{"model":"bert",}',
    "a comma at the end of an array": b'{"a":[1,],"model":"bert"}',
    "no comma": b'{"a":1 "model":"bert"}',
    "no colon": b'{"model" "bert"}',
    "a bare key": b'{model:"bert"}',
    "single quotes": b"{'model':'bert'}",
    "text behind": b'{"model":"bert"} x',
    "two objects": b'{"model":"bert"}{"model":"bert"}',
    "a leading zero": b'{"model":"bert","a":01}',
    "a bare point": b'{"model":"bert","a":1.}',
    "a point first": b'{"model":"bert","a":.5}',
    "a plus sign": b'{"model":"bert","a":+1}',
    "a lone minus": b'{"model":"bert","a":-}',
    "an empty exponent": b'{"model":"bert","a":1e}',
    "hexadecimal": b'{"model":"bert","a":0x10}',
    "NaN": b'{"model":"bert","a":NaN}',
    "Infinity": b'{"model":"bert","a":-Infinity}',
    "a capital literal": b'{"model":"bert","a":True}',
    "a longer literal": b'{"model":"bert","a":nullx}',
    "a comment": b'{"model":"bert" /* ? */}',
    "a line break in a text": b'{"model":"be\nrt"}',
    "a zero byte in a text": b'{"model":"be\x00rt"}',
    "an unknown escape": rb'{"model":"\xbert"}',
    "a short escape": rb'{"model":"\u12g4"}',
    "mismatched brackets": b'{"a":[1},"model":"bert"]',
    "a byte order mark": b'\xef\xbb\xbf{"model":"bert"}',
    "an array": b'[{"model":"bert"}]',
    "a text": b'"bert"',
    "a number": b"5",
    "null": b"null",
    "100 deep": b'{"a":' + b"[" * 100 + b"]" * 100 + b',"model":"bert"}',
    "100,000 deep": b'{"a":' + b"[" * 100_000,
}


def refusal(answer: Answer) -> str:
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/json"
    assert "x-turnout-model" not in answer.headers
    assert answer.error["type"] == "invalid_request_error"
    return str(answer.error["code"])


@pytest.mark.parametrize(("body", "upstream"), ROUTED.values(), ids=ROUTED)
def test_the_body_names_the_model(two_models: Served, body: bytes, upstream: str) -> None:
    answer = two_models.ask(body)
    assert answer.status == 200
    assert answer.upstream == upstream
    assert answer.json["size"] == len(body)


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_body_is_refused(two_models: Served, body: bytes) -> None:
    assert refusal(two_models.ask(body)) == "invalid_json"


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_body_is_refused_also_where_a_header_names_the_model(two_models: Served, body: bytes) -> None:
    assert refusal(two_models.ask(body, model_name="bert")) == "invalid_json"


@pytest.mark.parametrize("body", [body for name, body in MALFORMED.items() if name != "100 deep"])
def test_explain_refuses_what_envoy_refuses(body: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        read_request(Sent("POST", "/v1/completions", (), body))


@pytest.mark.parametrize("value", [5, True, ["bert"], {"name": "bert"}])
def test_a_model_that_is_no_text_is_refused(two_models: Served, value: object) -> None:
    answer = two_models.ask({"model": value})
    assert refusal(answer) == "invalid_type"
    assert answer.error["param"] == "model"


def test_the_place_of_a_fault_is_told(two_models: Served) -> None:
    assert two_models.ask(b'{"a":tru}').error["message"] == (
        "The request body is not valid JSON: unexpected character at byte 6"
    )


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
def test_an_openai_path_needs_a_body(two_models: Served, path: str) -> None:
    assert refusal(two_models.request("POST", path)) == "invalid_json"
    assert refusal(two_models.request("POST", path, b"")) == "invalid_json"
    assert refusal(two_models.request("POST", path, [])) == "invalid_json"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_an_openai_path_is_read_whatever_its_content_type(two_models: Served, content_type: str) -> None:
    headers = {"content-type": content_type}
    assert two_models.request("POST", "/v1/completions", b'{"model":"bert"}', headers).upstream == BERT
    assert refusal(two_models.request("POST", "/v1/completions", b"model=bert", headers)) == "invalid_json"


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"]
)
def test_another_path_is_read_when_it_carries_json(two_models: Served, content_type: str) -> None:
    headers = {"content-type": content_type}
    assert two_models.request("POST", "/v1/rerank", b'{"model":"bert"}', headers).upstream == BERT
    assert refusal(two_models.request("POST", "/v1/rerank", b'{"model":', headers)) == "invalid_json"


def test_another_path_is_left_alone_when_it_carries_something_else(two_models: Served) -> None:
    answer = two_models.request("POST", "/v1/audio", b'{"model":', {"content-type": "audio/wav", "model-name": "bert"})
    assert answer.upstream == BERT


def test_another_path_may_carry_json_that_is_no_object(two_models: Served) -> None:
    assert two_models.ask(b"[1, 2]", path="/v1/models/bert/predict").upstream == BERT
    assert two_models.ask(b"[1, 2]", path="/v1/rerank").error["code"] == "model_not_found"


def test_a_chunked_body_is_read_to_its_end(two_models: Served) -> None:
    body = b'{"prompt":"' + b"x" * 5000 + b'","model":"bert"}'
    pieces = [body[start : start + 7] for start in range(0, len(body), 7)]
    answer = two_models.request("POST", "/v1/completions", pieces, {"content-type": "application/json"})
    assert (answer.upstream, answer.json["size"]) == (BERT, len(body))


def test_a_body_over_the_limit_is_refused(two_models: Served) -> None:
    answer = two_models.ask(b'{"prompt":"' + b"x" * 5 * MI + b'","model":"bert"}')
    assert answer.status == 413
    assert answer.headers["content-type"] == "application/json"
    assert answer.error["code"] == "request_too_large"


def test_header_wins_over_path_and_path_over_body(two_models: Served) -> None:
    body = {"model": "unknown"}
    assert two_models.ask(body, path="/v1/models/bert/x", model_name="llama-70b").upstream == DEFAULT
    assert two_models.ask(body, path="/v1/models/bert/x").upstream == BERT
    assert two_models.ask(body).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/bert",
        "/v1/models/bert/predict",
        "/v1/models/bert?x=/v1/models/y",
        "/v1/models/%62ert/",
        "/v1/models/bert%2D1.5",
    ],
)
def test_the_path_names_the_model(two_models: Served, path: str) -> None:
    assert two_models.request("GET", path).upstream == BERT


@pytest.mark.parametrize("path", ["/v1/models/bertx", "/v1/models/bert%2Fx", "/v1/models/%20bert", "/v1/models/BERT"])
def test_a_path_that_only_resembles_a_name_names_another_model(two_models: Served, path: str) -> None:
    answer = two_models.request("GET", path)
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


def test_the_stream_flag_is_found_whoever_names_the_model(two_models: Served) -> None:
    def stream(answer: Answer) -> object:
        return answer.json["headers"].get("x-turnout-stream")

    assert stream(two_models.ask({"model": "bert", "stream": True})) == "true"
    assert stream(two_models.ask({"stream": True}, model_name="bert")) == "true"
    assert stream(two_models.ask({"stream": True}, path="/v1/models/bert/x")) == "true"
    assert stream(two_models.ask({"stream": True})) == "true"
    for other in (False, None, "true", 1, {"stream": True}, [True]):
        assert stream(two_models.ask({"model": "bert", "stream": other})) is None
    assert stream(two_models.ask({"model": "bert", "options": {"stream": True}})) is None
    assert stream(two_models.ask(b'{"model":"bert","stream":true,"stream":false}')) is None


def test_internal_headers_of_a_client_are_removed(two_models: Served) -> None:
    spoofed = {"x-turnout-model": "bert", "X-Turnout-Stream": "true", "x-turnout-cluster": "bert-1-5_1"}
    answer = two_models.ask({"model": "llama-70b"}, **{**spoofed, "x-turnout-tenant": "acme"})
    assert answer.upstream == DEFAULT
    seen = {name: value for name, value in answer.json["headers"].items() if name.startswith("x-turnout-")}
    assert seen == {"x-turnout-model": "llama-70b"}
    for path in ("/", "/v1/models/", "/anything"):
        assert two_models.request("GET", path, headers=spoofed).error["code"] == "model_not_found"


@pytest.mark.parametrize(
    "name",
    [
        '"',
        "\\",
        "`",
        "</script>",
        "%REQ(:path)%",
        "a\nb",
        "\r\nx-evil: 1",
        "\x00",
        "é",
        "模型",
        "\ud83d",
        " bert",
        "x" * 5000,
    ],
)
def test_a_hostile_name_comes_back_as_text_of_a_valid_answer(two_models: Served, name: str) -> None:
    answer = two_models.ask(json.dumps({"model": name}).encode())
    assert answer.status == 404
    assert "x-evil" not in answer.headers
    error = answer.error
    assert error["code"] == "model_not_found"
    assert error["param"] == "model"
    assert error["message"].startswith("The model `")
    assert error["message"].endswith("` does not exist")
    assert len(error["message"]) < 300
    assert error["message"].isprintable()


def test_bytes_that_are_no_utf8_in_a_name_give_a_valid_answer(two_models: Served) -> None:
    assert two_models.ask(b'{"model":"\xff\xfe"}').error["code"] == "model_not_found"


def test_the_script_never_fails(two_models: Served) -> None:
    """Last in this file: whatever was sent above, no request met an error of the script."""
    assert "request.lua" not in two_models.envoy.log()
    assert two_models.envoy.stats("lua.errors") == {"http.default-8080.lua.errors": 0}

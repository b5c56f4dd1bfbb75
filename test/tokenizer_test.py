"""Token ids and rendered conversations beside the reference implementations, on the real vocabularies of seven families."""
import datetime
import json
import subprocess

import jinja2
import jinja2.ext
import jinja2.sandbox
import pytest
from conftest import ROOT, SOAK, TWEENDECK
from mixed_text import LETTERS, mixed
from tokenizers import Tokenizer

FAMILIES = ("llama2", "llama3_2", "qwen3", "deepseek_v3", "mistral_nemo", "gptoss", "gemma3")
TEXT_BYTES = 10_000_000 if SOAK else 300_000


@pytest.fixture(scope="session")
def vocabularies():
    fetched = subprocess.run([ROOT / "scripts" / "fetch-vocabularies"], capture_output=True, text=True, check=False)
    if fetched.returncode == 3:
        pytest.skip(fetched.stderr.strip())
    assert fetched.returncode == 0, fetched.stderr
    return ROOT / "build" / "vocabularies"


def ids_of(path, texts, *flags):
    """The ids of each text, which ends with a NUL byte, by our program."""
    run = subprocess.run([TWEENDECK, "tokenize", "--tokenizer", path, "--null", *flags], input=texts, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return [[int(word) for word in line.split()] for line in run.stdout.decode().splitlines()]


def assert_equal_ids(path, texts, special=False):
    reference = Tokenizer.from_file(str(path))
    reference.no_truncation()
    reference.no_padding()
    ours = ids_of(path, texts, *(["--special"] if special else []))
    wanted = [text.decode("utf-8", "replace") for text in texts.split(b"\0")[:-1]]
    assert len(ours) == len(wanted)
    for text, ids in zip(wanted, ours):
        expected = reference.encode(text, add_special_tokens=special).ids
        if ids != expected:
            at = next((i for i, pair in enumerate(zip(ids, expected)) if pair[0] != pair[1]), min(len(ids), len(expected)))
            before = reference.decode(expected[max(0, at - 8):at])
            pytest.fail(f"after {before!r}: {[reference.id_to_token(i) for i in ids[at:at + 6]]}, "
                        f"the reference has {[reference.id_to_token(i) for i in expected[at:at + 6]]}")


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_equal_the_reference(vocabularies, family):
    assert_equal_ids(vocabularies / family / "tokenizer.json", mixed(TEXT_BYTES))


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_equal_the_reference(vocabularies, family):
    assert_equal_ids(vocabularies / family / "tokenizer.json", b"Hello\0\0 <s> x\0", special=True)


@pytest.mark.parametrize("family", ("qwen3", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gptoss", "deepseek_v3"))))
def test_every_character_equals_the_reference(vocabularies, family):
    texts = bytearray()
    for start in range(0, len(LETTERS), 512):
        line = LETTERS[start:start + 512]
        texts += "".join(f"a{chr(point)}B{chr(point)}{chr(point)} 1" for point in line).encode() + b"\0"
    assert_equal_ids(vocabularies / family / "tokenizer.json", bytes(texts))


def environment():
    """Jinja as transformers sets it up for chat templates."""
    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

        def _body(self, caller):
            return caller()

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda form: datetime.datetime.now(datetime.timezone.utc).strftime(form)
    return made


TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Wetter für \"Ort\" <b> 中文 🙂\n", "parameters": {
        "type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "enum": ["a", None, True]}, "days": {"type": "integer", "default": 3, "max": 1e16, "min": 0.1}}}}}]
CALLS = [{"id": "abc123def", "type": "function",
          "function": {"name": "get_weather", "arguments": {"city": "Zürich", "x": [1, 2.0, {}], "y": {}}}}]
TEXT_CALLS = [{"id": "abc123def", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Zürich"}'}}]
CONVERSATIONS = {
    "user": [{"role": "user", "content": "Hi"}],
    "system": [{"role": "system", "content": "  You are\nhelpful. "}, {"role": "user", "content": "Hi 中文 "},
               {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"}, {"role": "user", "content": "again\n"}],
    "tools": [{"role": "system", "content": "sys"}, {"role": "user", "content": "weather?"},
              {"role": "assistant", "content": "", "tool_calls": CALLS},
              {"role": "tool", "content": "sunny", "name": "get_weather", "tool_call_id": "abc123def"},
              {"role": "assistant", "content": "It is sunny"}, {"role": "user", "content": "thx"}],
    "calls as text": [{"role": "user", "content": "weather?"}, {"role": "assistant", "content": None, "tool_calls": TEXT_CALLS},
                      {"role": "tool", "content": "sunny", "tool_call_id": "abc123def"}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": " a "}, {"type": "image"}, {"type": "text", "text": "b"}]}],
    "wrong order": [{"role": "assistant", "content": "x"}, {"role": "assistant", "content": "y"}],
    "reasoning": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "because"},
                  {"role": "user", "content": "q2"}, {"role": "assistant", "content": "b", "reasoning_content": "r2"}],
    "none": [],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("family", ("llama3_2", "qwen3", "deepseek_v3", "mistral_nemo", "gemma3"))
def test_conversations_equal_jinja(vocabularies, tmp_path, family, name):
    source = json.loads((vocabularies / family / "tokenizer_config.json").read_text("utf-8"))["chat_template"]
    reference = environment().from_string(source)
    (tmp_path / "chat.jinja").write_text(source, "utf-8")
    for extra in ({}, {"tools": TOOLS}, {"tools": TOOLS, "enable_thinking": False, "add_generation_prompt": False}):
        request = {"messages": CONVERSATIONS[name], "bos_token": "<s>", "eos_token": "</s>", **extra}
        (tmp_path / "chat.json").write_text(json.dumps(request), "utf-8")
        run = subprocess.run([TWEENDECK, "tokenize", "--template", tmp_path / "chat.jinja", "--messages", tmp_path / "chat.json"],
                             capture_output=True, check=False)
        try:
            wanted = reference.render(**{"tools": None, "add_generation_prompt": True, **request})
        except (jinja2.exceptions.TemplateError, TypeError):
            assert b"TemplateRefused" in run.stderr, run.stdout
            continue
        assert run.returncode == 0, run.stderr.decode()
        assert run.stdout.decode() == wanted


def test_what_is_not_known_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece", "vocab": {}}}))
    run = subprocess.run([TWEENDECK, "tokenize", "--tokenizer", tmp_path / "tokenizer.json"], input=b"x", capture_output=True, check=False)
    assert run.returncode != 0 and b"TokenizerUnsupported" in run.stderr and b"WordPiece" in run.stderr

"""Exceptions in one line."""

from __future__ import annotations

import pytest
import tensorflow as tf

from imcap.errors import UserError, first_line, one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.jpg"), "No such file or directory"),
        (ValueError("wrong"), "wrong"),
        (ValueError("a trace\n\n  the reason\n"), "the reason"),
        (ValueError(), "ValueError"),
    ],
)
def test_exception_is_said_in_one_line(error, line):
    assert one_line(error) == line


@pytest.mark.parametrize(
    ("message", "line"), [("wrong:\n  details", "wrong:"), ("\nwrong", "wrong"), ("", "OSError")]
)
def test_first_line_says_what_is_wrong(message, line):
    assert first_line(OSError(message)) == line


def test_assertion_in_a_graph_is_its_message():
    @tf.function
    def check(x: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([tf.debugging.Assert(x > 0, ["x must be positive", x])]):
            return tf.identity(x)

    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        check(tf.constant(-1))
    assert one_line(caught.value) == "x must be positive"


def test_op_error_has_no_node_names():
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        tf.function(lambda data: tf.io.decode_jpeg(data))(tf.constant(b"no image"))
    line = one_line(caught.value)
    assert line and not any(sign in line for sign in ("{{", "[[", "[Op:", "\n"))


def test_user_error_is_a_value_error():
    assert issubclass(UserError, ValueError)

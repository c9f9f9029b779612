"""Which strategy trains, and which process writes."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf

from imcap.errors import UserError
from imcap.training import strategies

CLUSTER = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}


def test_none_is_tensorflows_default():
    assert strategies.build("none") is tf.distribute.get_strategy()


def test_mirrored_takes_the_cpu_where_there_is_no_gpu():
    strategy = strategies.build("mirrored")
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == len(tf.config.list_logical_devices("CPU"))


def test_auto_without_tf_config_and_gpus_is_none(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert strategies.build("auto") is tf.distribute.get_strategy()


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"--distribute=tpu must be one of auto, none, mirrored"):
        strategies.build("tpu")


def test_multiworker_without_tf_config_says_what_is_missing(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match=r"needs TF_CONFIG with the cluster's workers.*it is ''"):
        strategies.build("multiworker")


@pytest.mark.parametrize(
    "tf_config",
    [
        "not json",
        "3",
        "[]",
        "{}",
        json.dumps({"cluster": CLUSTER}),
        json.dumps({"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}),
        json.dumps({"cluster": CLUSTER, "task": "index"}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker"}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": "first"}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "boss", "index": 0}}),
        json.dumps({"cluster": {"worker": "127.0.0.1:1"}, "task": {"type": "worker", "index": 0}}),
    ],
)
@pytest.mark.parametrize("name", ["multiworker", "auto"])
def test_an_unusable_tf_config_is_shown_in_one_line(monkeypatch, name, tf_config):
    monkeypatch.setenv("TF_CONFIG", tf_config)
    with pytest.raises(UserError) as caught:
        strategies.build(name)
    message = str(caught.value)
    assert repr(tf_config) in message
    assert "\n" not in message


def test_a_process_of_its_own_is_the_chief():
    assert strategies.is_chief(strategies.build("none"))
    assert strategies.is_chief(strategies.build("mirrored"))

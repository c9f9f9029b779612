"""TensorFlow Serving's JSON dialect: URLs, predict requests and replies, as pure functions.

URLs, JSON and error messages follow `tensorflow_model_server`'s HTTP handler, so that a client can
switch to it unchanged. https://www.tensorflow.org/tfx/serving/api_rest
"""

from imcap.serving.rest.errors import RequestError, where_of_row
from imcap.serving.rest.replies import metadata_reply, predict_reply, status_reply
from imcap.serving.rest.requests import PredictRequest, parse_request
from imcap.serving.rest.urls import Target, is_model_name, parse_url

__all__ = [
    "PredictRequest",
    "RequestError",
    "Target",
    "is_model_name",
    "metadata_reply",
    "parse_request",
    "parse_url",
    "predict_reply",
    "status_reply",
    "where_of_row",
]

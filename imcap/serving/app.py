"""The web page, on Streamlit: images in, the captions of every loaded model side by side out.

`imcap app` runs it, as does `streamlit run imcap/serving/app.py -- --model=NAME=DIR`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

import streamlit as st

from imcap.errors import UserError
from imcap.reports import html
from imcap.serving import image_addresses, page_images, page_results, saved_model
from imcap.serving.captioner import Captioner
from imcap.serving.page_images import PageImage
from imcap.serving.page_results import ImageResult

_MAX_IMAGES = 64  # Of one upload.
_MAX_BEAM = 10
_MIB = 1 << 20
_UPLOAD, _CAMERA, _ADDRESS, _SAMPLE = "Upload", "Camera", "Address", "Sample"


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses what follows `--` on Streamlit's command line.

    Raises:
      UserError: an argument is unknown or wrong, or no model is given.
    """
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False, allow_abbrev=False)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--samples", default="")
    parser.add_argument("--allow_private_addresses", action="store_true")
    parser.add_argument("--max_image_mib", type=int, default=32)
    try:
        options, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from error
    if unknown:
        raise UserError(f"{unknown[0]}: no such argument")
    options.model = saved_model.models_by_name(options.model)
    if not options.model:
        raise UserError("no model: give --model=DIR or --model=NAME=DIR, once for each model")
    return options


@st.cache_resource(show_spinner="Loading the models …")
def load_models(folders: tuple[tuple[str, str], ...]) -> dict[str, Captioner]:
    """Loads models once for all visitors; `folders` are pairs of name and folder."""
    return {name: Captioner(folder) for name, folder in folders}


@st.cache_resource(show_spinner=False)
def load_samples(folder: str) -> dict[str, bytes]:
    """Reads or draws the samples once for all visitors."""
    return page_images.samples(folder)


def main() -> None:
    """Draws the page; Streamlit calls it again after every input."""
    st.set_page_config(page_title="imcap: image captions", layout="wide")
    st.html(f"<style>{html.load_inline('page.css')}</style>")
    st.title("Image captions", anchor=False)
    try:
        options = parse_arguments(sys.argv[1:])
        models = load_models(tuple(options.model.items()))
    except UserError as error:
        _show_error(error)
        return
    files = _choose_files(options)
    beam_size, top = _choose_settings(models)
    images = _read_images(files)
    if images:
        cache = st.session_state.setdefault("answers", {})
        with st.spinner("Captioning …"):
            results = page_results.caption_images(models, images, beam_size, cache)
        _show_results(models, results, top)


def _show_error(error: UserError) -> None:
    st.error(page_results.plain_markdown(str(error)))


def _choose_files(options: argparse.Namespace) -> list[tuple[str, bytes]]:
    """Returns the names and contents of the files that the visitor gives."""
    sources = [_UPLOAD, _CAMERA, _ADDRESS, _SAMPLE]
    source = st.radio("Where the image comes from", sources, horizontal=True)
    if source == _UPLOAD:
        return _upload(options.max_image_mib)
    if source == _CAMERA:
        taken = st.camera_input("Take an image with the camera")
        return [("camera.jpg", taken.getvalue())] if taken else []
    try:
        return _fetch(options) if source == _ADDRESS else _choose_sample(options.samples)
    except UserError as error:
        _show_error(error)
        return []


def _choose_sample(folder: str) -> list[tuple[str, bytes]]:
    samples = load_samples(folder)
    chosen = st.selectbox("Sample", list(samples))
    return [(chosen, samples[chosen])]


def _upload(max_image_mib: int) -> list[tuple[str, bytes]]:
    files = st.file_uploader(
        "Images to caption", type="image", accept_multiple_files=True, max_upload_size=max_image_mib
    )
    if len(files) > _MAX_IMAGES:
        st.warning(f"{len(files)} images: the first {_MAX_IMAGES} are captioned.")
    return [(file.name, file.getvalue()) for file in files[:_MAX_IMAGES]]


def _fetch(options: argparse.Namespace) -> list[tuple[str, bytes]]:
    with st.form("address", border=False):
        address = st.text_input("Address of an image", placeholder="https://…")
        submitted = st.form_submit_button("Fetch")
    if submitted:
        st.session_state.pop("fetched", None)
        with st.spinner("Fetching …"):
            content = image_addresses.fetch(
                address,
                max_bytes=options.max_image_mib * _MIB,
                allow_private=options.allow_private_addresses,
            )
        st.session_state["fetched"] = (image_addresses.file_name(address), content)
    return [st.session_state["fetched"]] if "fetched" in st.session_state else []


def _choose_settings(models: Mapping[str, Captioner]) -> tuple[int, int]:
    """Returns the beam size and how many captions are shown."""
    beams = [model.beam_size or 1 for model in models.values()]
    fixed = [name for name, model in models.items() if not model.takes_beam_size]
    with st.expander("Settings"):
        beam_size = st.slider(
            "Beam size", 1, max(_MAX_BEAM, *beams), max(beams),
            help="How many captions the search follows at a time: more take longer.",
        )  # fmt: skip
        if fixed:
            st.write(f"Exported with a beam size of their own: {', '.join(fixed)}.")
        top = st.slider("Captions shown of each model", 1, _MAX_BEAM, 3)
    return beam_size, top


def _read_images(files: Sequence[tuple[str, bytes]]) -> list[PageImage]:
    """Returns the images among the files; says of each other file what is wrong with it."""
    cache = st.session_state.get("images", {})
    images = {}
    for file in files:
        try:
            images[file] = cache[file] if file in cache else page_images.read_image(*file)
        except UserError as error:
            _show_error(error)
    st.session_state["images"] = images
    return list(images.values())


def _show_results(
    models: Mapping[str, Captioner], results: Sequence[ImageResult], top: int
) -> None:
    st.html(page_results.render_status(results, models))
    for index, result in enumerate(results):
        _show_result(models, result, top, index)
    st.header("Download", anchor=False, divider="gray")
    st.write(
        "A score is the mean log-probability per token, its end included; the confidence is its "
        "exponential: the geometric mean of the tokens' probabilities."
    )
    with st.container(horizontal=True):
        for kind, write in (("CSV", page_results.as_csv), ("JSON", page_results.as_json)):
            name = f"captions.{kind.lower()}"
            st.download_button(f"Download {kind}", write(results, top), name, on_click="ignore")


def _show_result(
    models: Mapping[str, Captioner], result: ImageResult, top: int, index: int
) -> None:
    st.header(page_results.plain_markdown(result.image.name), anchor=False, divider="gray")
    left, right = st.columns([1, 2], gap="medium")
    left.image(result.image.shown, alt=f"The image {result.image.name}", width="stretch")
    right.html(page_results.render_captions(result.answers, top))
    if any(model.has_attention for model in models.values()):
        maps = st.expander("Attention maps", on_change="rerun", key=f"maps {index}")
        if maps.open:
            with maps:
                _show_attention(models, result)


def _show_attention(models: Mapping[str, Captioner], result: ImageResult) -> None:
    cache = st.session_state.setdefault("attention", {})
    for name, model in models.items():
        st.subheader(page_results.plain_markdown(name), anchor=False)
        found = page_results.find_attention(name, model, result, cache)
        if isinstance(found, str):
            st.write(page_results.plain_markdown(found))
        else:
            st.html(page_results.render_attention(result, name, found))


if __name__ == "__main__":
    main()

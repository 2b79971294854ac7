"""Try your own picture: what every model that has weights makes of the same face."""

from typing import Any

import streamlit as st

from dashboard.components import model_charts, theme
from dashboard.queries.model_trial import MAX_BYTES, Answer, Bench, Trial, UploadError, decode
from models.registry import MODELS


@st.cache_resource(show_spinner=False)
def _bench() -> Bench:
    return Bench()


def own_picture() -> None:
    """A file or a webcam shot, and every model's answer beside the others'."""
    theme.section("Try your own picture")
    st.caption("It is looked at in this server's memory and kept nowhere.")
    source = st.segmented_control(
        "From",
        ["A file", "The webcam"],
        default="A file",
        required=True,
        label_visibility="collapsed",
    )
    if source == "The webcam":
        given = st.camera_input("Webcam", label_visibility="collapsed", width=420)
    else:
        given = st.file_uploader(
            "Picture",
            type=["jpg", "jpeg", "png", "webp"],
            label_visibility="collapsed",
            max_upload_size=MAX_BYTES // 1_000_000,
            width=420,
        )
    if given is None:
        return
    try:
        image = decode(given.getvalue())
    except UploadError as error:
        st.warning(str(error).capitalize() + ".", icon=":material/image_not_supported:")
        return
    with st.spinner("Asking every model"):
        trial = _bench().look(image)
    if trial.face is None:
        st.info(
            "No face was found in this picture. Try one in which a face looks at the camera.",
            icon=":material/face:",
        )
    _answers(trial.face, list(trial.answers))
    _silent(trial)


def _answers(face: Any, answers: list[Answer]) -> None:
    columns = st.columns(4)
    if face is not None:
        columns[0].image(face, caption="the face they saw", width=200)
    for index, answer in enumerate(answers, start=1):
        with columns[index % 4]:
            label, share = max(answer.shares, key=lambda pair: pair[1])
            st.markdown(f"**{answer.model}**: {label}, {theme.share(share)}")
            st.altair_chart(model_charts.shares(answer.shares), key=f"try-{answer.model}")


def _silent(trial: Trial) -> None:
    """Every registered model is accounted for."""
    asked = {answer.model for answer in trial.answers} | {name for name, _ in trial.silent}
    lines = [f"**{name}** does not answer: {why}." for name, why in trial.silent]
    missing = [name for name in MODELS if name not in asked]
    if missing:
        lines.append(f"Not asked, because no weights of theirs ship: {', '.join(missing)}.")
    for line in lines:
        st.caption(line)

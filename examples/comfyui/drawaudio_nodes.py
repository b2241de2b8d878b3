"""A node for ComfyUI that makes the sound of a video by `drawaudio serve`.

Copy this file into ComfyUI's folder custom_nodes, start `drawaudio serve --port 8765`, and give the node its address and its
token; or start both with DRAWAUDIO_TOKEN set to the same secret, and leave the token empty. ComfyUI itself brings torch and
numpy; nothing else is needed here.
"""

import io
import json
import os
import urllib.error
import urllib.parse
import urllib.request
import wave
from pathlib import Path

import numpy as np
import torch

SECONDS_OF_A_POLL = 30


class DrawAudio:
    """Video, words, and where they are wanted a mask and a curve -> sound."""

    CATEGORY = "audio"
    FUNCTION = "make"
    RETURN_TYPES = ("AUDIO", "STRING")
    RETURN_NAMES = ("audio", "notices")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """What the node shows."""
        return {
            "required": {
                "video": ("STRING", {"default": "", "tooltip": "path of a video on this machine"}),
                "text": ("STRING", {"default": "", "multiline": True}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**53 - 1}),
                "steps": ("INT", {"default": 25, "min": 1, "max": 1000}),
            },
            "optional": {
                "negative_text": ("STRING", {"default": ""}),
                "mask": (
                    "MASK",
                    {"tooltip": "one picture for all of the video, or one for each of its frames at 4 a second"},
                ),
                "curve": ("STRING", {"default": "", "tooltip": "seconds:level, such as 0:0,1.5:0.3,2:0"}),
                "address": ("STRING", {"default": "http://127.0.0.1:8765"}),
                "token": ("STRING", {"default": "", "tooltip": "empty: the environment's DRAWAUDIO_TOKEN"}),
            },
        }

    def make(
        self,
        video: str,
        text: str,
        seed: int,
        steps: int,
        negative_text: str = "",
        mask: torch.Tensor | None = None,
        curve: str = "",
        address: str = "http://127.0.0.1:8765",
        token: str = "",
    ) -> tuple[dict, str]:
        """ComfyUI's AUDIO, {"waveform": (1, 1, n) float32, "sample_rate"}, and the notices, a line each."""
        service = Service(address, token or os.environ.get("DRAWAUDIO_TOKEN", ""))
        asked: dict = {"video": service.upload(Path(video)), "seed": seed, "steps": steps}
        asked |= {name: words for name, words in (("text", text), ("negative_text", negative_text)) if words.strip()}
        if mask is not None:
            asked["mask"] = {"file": service.upload_bytes("mask.npy", mask_bytes(mask))}
        if curve.strip():
            points = [point.split(":") for point in curve.split(",")]
            asked["loudness"] = [[float(seconds), float(level)] for seconds, level in points]
        sound = service.sound(asked)
        with wave.open(io.BytesIO(service.read(f"/api/sounds/{sound['id']}"))) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 2**15
            rate = file.getframerate()
        return {"waveform": torch.from_numpy(samples)[None, None], "sample_rate": rate}, "\n".join(sound["notices"])


class Service:
    """The requests.

    Args:
        address: of `drawaudio serve`.
        token: that it printed.
    """

    def __init__(self, address: str, token: str) -> None:
        self.address, self.token = address.rstrip("/"), token

    def upload(self, path: Path) -> str:
        """The id of a file; the same content is kept once."""
        return self.upload_bytes(path.name, path.read_bytes())

    def upload_bytes(self, name: str, content: bytes) -> str:
        """The id of what is to be a file of this name."""
        return self._json("PUT", f"/api/files?name={urllib.parse.quote(name)}", content)["id"]

    def sound(self, asked: dict) -> dict:
        """Asks for a sound and waits for it.

        Raises:
            RuntimeError: with the service's sentence, when there is none.
        """
        job = self._json("POST", "/api/jobs", json.dumps(asked).encode())
        while job["state"] in ("waiting", "running"):
            job = self._json("GET", f"/api/jobs/{job['id']}?wait={SECONDS_OF_A_POLL}")
        if job["state"] != "done":
            raise RuntimeError(job.get("sentence", f"the job was {job['state']}"))
        return job["sound"]

    def read(self, path: str) -> bytes:
        """What the service answers."""
        return self._ask("GET", path)

    def _json(self, method: str, path: str, body: bytes | None = None) -> dict:
        return json.loads(self._ask(method, path, body))

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(self.address + path, body, headers, method=method)
        # A proxy of the environment is not asked for what is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=2 * SECONDS_OF_A_POLL) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.loads(error.read())["error"]) from None
        except urllib.error.URLError as error:
            raise RuntimeError(
                f"{self.address} does not answer ({error.reason}); start drawaudio serve there"
            ) from None


def mask_bytes(mask: torch.Tensor) -> bytes:
    """A mask (N, H, W) of 0 to 1 as .npy: one picture, or those of all frames; what is above a half sounds."""
    pictures = (mask.reshape(-1, *mask.shape[-2:]).cpu().numpy() > 0.5).astype(np.uint8) * 255
    buffer = io.BytesIO()
    np.save(buffer, pictures[0] if len(pictures) == 1 else pictures)
    return buffer.getvalue()


NODE_CLASS_MAPPINGS = {"DrawAudio": DrawAudio}
NODE_DISPLAY_NAME_MAPPINGS = {"DrawAudio": "Draw an Audio"}

"""The service that people write first: FastAPI and transformers, one request after another through the model."""

import sys
import threading

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from safetensors.numpy import save
from starlette.responses import Response
from transformers import T5EncoderModel
from transformers.utils import logging

from openankh.checkpoint import load_named_model
from openankh.serve.server import bound
from openankh.serve.settings import Settings

logging.disable_progress_bar()
app = FastAPI()
lock = threading.Lock()


class Body(BaseModel):
    """What to embed."""

    sequences: list[str]


def main() -> None:
    """Serve on a free port and print where."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())
    checkpoint = load_named_model("openankh-nano", part="encoder")
    vocab, prefix = checkpoint.vocab, [checkpoint.vocab.prefix_id("[NLU]")]
    dtype = torch.bfloat16 if "bf16" in sys.argv else torch.float32
    model = T5EncoderModel.from_pretrained(checkpoint.folder, dtype=dtype).eval()

    @app.post("/v1/embed")
    def embed(body: Body) -> Response:
        vectors = {}
        for number, sequence in enumerate(body.sequences):
            ids = torch.tensor([[*prefix, *vocab.encode(sequence).tolist(), 1]])
            with lock, torch.inference_mode():
                vectors[str(number)] = model(ids).last_hidden_state[0, 1:-1].float().mean(0).numpy()
        return Response(save(vectors))

    listener = bound(Settings(port=0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


if __name__ == "__main__":
    main()

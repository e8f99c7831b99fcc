"""python classify.py MODEL.tflite PICTURE…: class names of pictures, with ai-edge-litert, numpy and pillow alone."""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

model, pictures = Path(sys.argv[1]), sys.argv[2:]
labels = Path(f"{model.with_suffix('')}.labels.txt").read_text(encoding="utf-8").splitlines()
how = json.loads(Path(f"{model.with_suffix('')}.preprocessing.json").read_text(encoding="utf-8"))
height, width, channels = how["input"]["shape"]
output = how["output"]
if how["table"] is None or output["task"] != "classification":
    sys.exit(f"{model}: {how['reason'] or output['task'] + ', which has no class of highest score'}")
tables = np.array(how["table"], how["input"]["dtype"])  # [channels, 256]: the input's number for each value of a pixel
interpreter = Interpreter(str(model), num_threads=1)
interpreter.allocate_tensors()
for picture in pictures:
    image = ImageOps.exif_transpose(Image.open(picture)).convert(how["input"]["mode"])
    if image.size != (width, height):
        if how["resize"] is None:
            sys.exit(f"{picture}: {image.size} pixels, expected {(width, height)}")
        fits = {"pad": ImageOps.pad, "crop": ImageOps.fit, "fit": lambda whole, *how: whole.resize(*how)}
        image = fits[how["resize"]["fit"]](image, (width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(height, width, channels)
    interpreter.set_tensor(
        interpreter.get_input_details()[0]["index"],
        np.stack([tables[channel][pixels[..., channel]] for channel in range(channels)], axis=-1)[None],
    )
    interpreter.invoke()
    scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].astype(np.float64)
    scores = (scores - (output["zero_point"] or 0)) * (output["scale"] or 1)
    shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    print(picture, labels[shares.argmax()], f"{shares.max():.4f}", sep="\t")

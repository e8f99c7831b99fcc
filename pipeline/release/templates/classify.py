"""python classify.py MODEL.tflite PICTURE…: class names of pictures, with ai-edge-litert, numpy and pillow alone."""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

model, pictures = Path(sys.argv[1]), sys.argv[2:]
labels = Path(f"{model.with_suffix('')}.labels.txt").read_text(encoding="utf-8").split("\n")[:-1]
how = json.loads(Path(f"{model.with_suffix('')}.preprocessing.json").read_text(encoding="utf-8"))
output = how["output"]
if how["table"] is None or output["task"] != "classification":
    sys.exit(f"{model}: {how['reason'] or output['task'] + ', which has no class of highest score'}")
height, width, channels = how["input"]["shape"]
tables = np.array(how["table"], how["input"]["dtype"])  # [channels, 256]: the input's number for each value of a pixel
interpreter = Interpreter(str(model), num_threads=1)
interpreter.allocate_tensors()
for picture in pictures:
    image = ImageOps.exif_transpose(Image.open(picture))
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:  # lies over black
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
    image = image.convert(how["input"]["mode"])
    if image.size != (width, height):
        if how["resize"] is None:
            sys.exit(f"{picture}: {image.size} pixels, expected {(width, height)}")
        size, bilinear = (width, height), Image.Resampling.BILINEAR
        if how["resize"]["fit"] == "fit":
            image = image.resize(size, bilinear, reducing_gap=3.0)
        else:
            image = (ImageOps.pad if how["resize"]["fit"] == "pad" else ImageOps.fit)(image, size, bilinear)
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

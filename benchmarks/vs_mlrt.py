"""The same job in VapourSynth with vs-mlrt's OpenVINO plugin, or its ONNX Runtime plugin on a GPU, as y4m on stdout.

    python3.12 vs_mlrt.py CLIP MODEL.onnx SCALE STREAMS [cuda]

Run by an interpreter that has `vapoursynth vapoursynth-mlrt-ov vapoursynth-bestsource` (Python 3.12 or newer); with `cuda`, the
plugin vsort in place of vapoursynth-mlrt-ov.
The network makes luma, Lanczos makes chroma: what streamsr does.
"""

import sys

import vapoursynth as vs

clip_path, model_path, scale, streams = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
core = vs.core
clip = core.bs.VideoSource(clip_path)
luma = core.resize.Point(core.std.ShufflePlanes(clip, 0, vs.GRAY), format=vs.GRAYS)
if sys.argv[5:] == ["cuda"]:
    luma = core.ort.Model(luma, network_path=model_path, provider="CUDA", fp16=True, num_streams=streams)
else:
    luma = core.ov.Model(luma, network_path=model_path, device="CPU", num_streams=streams)
luma = core.resize.Point(luma, format=vs.GRAY8)
chroma = core.resize.Lanczos(clip, width=clip.width * scale, height=clip.height * scale)
core.std.ShufflePlanes([luma, chroma], [0, 1, 2], vs.YUV).output(sys.stdout.buffer, y4m=True)

"""circuit-tracer: a transcoder for each layer, or one transcoder across layers. Read and written.

* ``config.yaml`` with ``model_kind: transcoder_set`` and ``layer_{i}.safetensors``: ``W_enc``,
  ``W_dec`` (m, d), ``b_enc`` (m), ``b_dec`` (d), perhaps ``activation_function.threshold`` (m) and
  ``W_skip`` (d_out, d_in). ``transcoders`` may list the files instead.
* ``model_kind: cross_layer_transcoder`` and, for each layer, ``W_enc_{i}.safetensors`` with
  ``W_enc_{i}`` (m, d), ``b_enc_{i}``, ``b_dec_{i}``, perhaps ``threshold_{i}``, and
  ``W_dec_{i}.safetensors`` with ``W_dec_{i}`` (m, layers - i, d).

``f = ReLU(W_enc x + b_enc)``, or with thresholds ``f = pre · [pre > threshold]`` without a ReLU: a
threshold below zero lets negative activations through, so such a file is refused. `b_dec` is not
subtracted, `W_skip` is multiplied from the left. Where it reads and writes stands in
``feature_input_hook`` and ``feature_output_hook``, names within a block. Facts of version 0.5.0.
"""

from __future__ import annotations

from monosemy.dictionaries.foreign.circuit_tracer_reading import read, recognises
from monosemy.dictionaries.foreign.circuit_tracer_writing import cannot_say, renamed, write
from monosemy.dictionaries.foreign.format import Format

FORMAT = Format("circuit_tracer", "circuit-tracer", recognises, read, cannot_say, write, renamed)

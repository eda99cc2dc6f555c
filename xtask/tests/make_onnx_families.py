"""Makes `onnx_families.json`: small configurations of transformers' families, as `config.json` would hold them.

    pip install transformers
    python make_onnx_families.py
"""

import json
import os

import transformers as t

SMALL = dict(
    vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, max_position_embeddings=40
)
IMAGE = dict(SMALL, image_size=16, patch_size=8)
CONFIGS = [
    (t.BertConfig(**SMALL), "BertModel"),
    (t.RobertaConfig(**SMALL), "RobertaModel"),
    (t.ElectraConfig(embedding_size=8, **SMALL), "ElectraModel"),
    (t.DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=40), "DistilBertModel"),
    (t.AlbertConfig(embedding_size=8, **SMALL), "AlbertModel"),
    (t.MPNetConfig(**SMALL), "MPNetModel"),
    (t.DebertaV2Config(relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"], norm_rel_ebd="layer_norm", share_att_key=True, position_biased_input=False, **SMALL), "DebertaV2Model"),
    (t.T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2), "T5EncoderModel"),
    (t.ViTConfig(**IMAGE), "ViTForImageClassification"),
    (t.DeiTConfig(**IMAGE), "DeiTForImageClassification"),
    (t.ConvNextConfig(image_size=32, depths=[1, 1, 1, 1], hidden_sizes=[4, 6, 8, 10]), "ConvNextForImageClassification"),
    (t.Wav2Vec2Config(conv_dim=[8] * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, **SMALL), "Wav2Vec2Model"),
    (t.WhisperConfig(vocab_size=50, d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, num_mel_bins=8, max_source_positions=20), "WhisperModel"),
]

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    all_of = []
    for config, architecture in CONFIGS:
        values = config.to_diff_dict()
        values.update({k: v for k, v in config.to_dict().items() if isinstance(v, (int, float, str, bool, list)) or v is None})
        values["architectures"] = [architecture]
        all_of.append(values)
    with open(os.path.join(here, "onnx_families.json"), "w") as file:
        json.dump(all_of, file, sort_keys=True)

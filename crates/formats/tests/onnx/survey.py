"""Exports networks of torchvision, timm and transformers with random weights, by both exporters of PyTorch, and records
beside each what onnxruntime answers and PyTorch differentiates.

    pip install torch torchvision timm transformers onnx onnxruntime onnxscript
    python survey.py OUT [NAME …]
    cargo xtask onnx OUT

Names are `torchvision.NAME`, `timm.NAME` or `transformers.NAME`; none means all of `NETWORKS`.  A network of torchvision or timm that
is not listed has pictures of its own size.  A network whose record is there already is not made again.
"""

import os
import subprocess
import sys
import time
import warnings

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
KINDS = ["script", "dynamo"]
# A tenth of what a gradient may differ by.
SHAKEN_MAX = 1e-4

# name → (inputs, size): inputs are image, text, wave or mel; of a text the size is its length.
TORCHVISION = {
    "squeezenet1_1": 64, "densenet121": 64, "googlenet": 64, "inception_v3": 96, "mnasnet0_5": 64,
    "mobilenet_v3_small": 64, "mobilenet_v3_large": 64, "shufflenet_v2_x0_5": 64, "regnet_x_400mf": 64, "regnet_y_400mf": 64,
    "resnext50_32x4d": 64, "efficientnet_b0": 64, "efficientnet_v2_s": 64, "convnext_tiny": 64, "swin_t": 64, "swin_v2_t": 64,
    "maxvit_t": 224,
}
TIMM = {
    "mobilenetv3_small_050": 64, "mobilenetv4_conv_small": 64, "efficientnet_lite0": 64, "tf_efficientnetv2_b0": 64,
    "convnext_atto": 64, "convnextv2_atto": 64, "ghostnet_050": 64, "ghostnetv2_100": 64, "regnety_002": 64, "regnetz_b16": 64, "repvgg_a0": 64,
    "res2net50_14w_8s": 64, "resnest14d": 64, "skresnet18": 64, "hrnet_w18_small": 64, "dla34": 64, "ese_vovnet19b_dw": 64,
    "nf_regnet_b0": 64, "eca_nfnet_l0": 64, "mixer_s32_224": 224, "gmlp_ti16_224": 224, "resmlp_12_224": 224,
    "vit_tiny_patch16_224": 224, "deit3_small_patch16_224": 224, "eva02_tiny_patch14_224": 224,
    "cait_xxs24_224": 224, "xcit_nano_12_p16_224": 224, "pit_ti_224": 224, "levit_128s": 224, "convit_tiny": 224,
    "crossvit_tiny_240": 240, "tnt_s_patch16_224": 224, "coatnet_nano_rw_224": 224, "poolformer_s12": 64, "edgenext_xx_small": 64,
    "efficientformer_l1": 224, "efficientformerv2_s0": 224, "mobilevit_xxs": 64, "mobilevitv2_050": 64, "pvt_v2_b0": 64,
    "twins_svt_small": 224, "visformer_tiny": 224, "nest_tiny": 224, "focalnet_tiny_srf": 64, "davit_tiny": 64, "fastvit_t8": 64,
    "repvit_m0_9": 64, "tiny_vit_5m_224": 224, "hgnetv2_b0": 64, "starnet_s1": 64, "inception_next_atto": 64, "sequencer2d_s": 224,
    "botnet26t_256": 256, "lambda_resnet26t": 256, "bat_resnext26ts": 256, "maxxvit_rmlp_nano_rw_256": 256, "swinv2_cr_tiny_ns_224": 224,
}
TRANSFORMERS = [
    "bert", "distilbert", "roberta", "camembert", "xlm-roberta", "electra", "mpnet", "albert", "deberta", "deberta-v2", "squeezebert",
    "mobilebert", "convbert", "funnel", "roformer", "nystromformer", "layoutlm", "xlm", "modernbert", "gpt2", "gpt_neox", "llama", "qwen2",
    "t5-encoder", "vit", "deit", "beit", "swin", "segformer", "dinov2", "convnextv2", "mobilevit", "mobilenet_v2", "poolformer", "pvt", "resnet", "regnet", "levit",
    "rembert", "ernie", "megatron-bert", "ibert", "xmod", "splinter", "flaubert", "data2vec-text", "esm", "fnet", "big_bird", "longformer",
    "opt", "gpt_neo", "bloom", "mistral", "phi", "gemma", "clip_text", "mbart-encoder", "m2m_100-encoder", "mt5-encoder",
    "data2vec-vision", "dinov2_with_registers", "dinov3_vit", "vit_msn", "ijepa", "swinv2", "focalnet", "hiera", "pvt_v2", "cvt", "bit", "efficientnet", "mobilenet_v1", "mobilevitv2",
    "unispeech", "unispeech-sat", "sew", "data2vec-audio", "wav2vec2-conformer",
    "clip_vision", "siglip_vision", "audio-spectrogram-transformer", "whisper-encoder", "wav2vec2", "hubert", "wavlm", "bart-encoder",
]
NETWORKS = [f"torchvision.{n}" for n in TORCHVISION] + [f"timm.{n}" for n in TIMM] + [f"transformers.{n}" for n in TRANSFORMERS]


# Of these the last hidden state is compared, of all others the logits of a classifier.
BARE = ["gpt2", "gpt_neox", "llama", "qwen2", "layoutlm", "opt", "gpt_neo", "bloom", "mistral", "phi", "gemma", "clip_text", "splinter"]


class Head(torch.nn.Module):
    """One output of a network of transformers, from one or two inputs given by position."""

    def __init__(self, network, names):
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *inputs):
        out = self.network(**dict(zip(self.names, inputs)))
        return out["logits"] if "logits" in out else out[0]


def transformers_network(name, seed):
    """A small network of a family: module, inputs, their names, and which of their axes are free."""
    import transformers
    from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, AutoModelForSequenceClassification

    wide = dict(hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=48, vocab_size=60, max_position_embeddings=40)
    pictures = dict(hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=48, image_size=64, patch_size=16, num_labels=7)
    more = {
        "distilbert": dict(dim=32, n_heads=4, n_layers=2, hidden_dim=48, vocab_size=60, max_position_embeddings=40),
        "albert": dict(wide, embedding_size=16), "electra": dict(wide, embedding_size=16), "roberta": dict(wide, pad_token_id=1),
        "deberta": dict(wide, relative_attention=True, pos_att_type=["c2p", "p2c"]),
        "deberta-v2": dict(wide, relative_attention=True, position_buckets=8, pos_att_type=["c2p", "p2c"], norm_rel_ebd="layer_norm", share_att_key=True),
        "squeezebert": dict(wide, embedding_size=32, q_groups=2, k_groups=2, v_groups=2, post_attention_groups=1, intermediate_groups=2, output_groups=2),
        "mobilebert": dict(wide, embedding_size=16, intra_bottleneck_size=32, true_hidden_size=32),
        "convbert": dict(wide, embedding_size=32, head_ratio=2), "funnel": dict(block_sizes=[1, 1], d_model=32, n_head=4, d_head=8, d_inner=48, vocab_size=60),
        "roformer": dict(wide, embedding_size=32), "nystromformer": dict(wide, num_landmarks=12, segment_means_seq_len=12),
        "xlm": dict(emb_dim=32, n_layers=2, n_heads=4, n_words=60, vocab_size=60, max_position_embeddings=40),
        "modernbert": dict(wide, global_attn_every_n_layers=2, local_attention=8, pad_token_id=1, bos_token_id=0, eos_token_id=2, cls_token_id=0, sep_token_id=2, attn_implementation="sdpa"),
        "gpt2": dict(n_embd=32, n_head=4, n_layer=2, vocab_size=60, n_positions=40), "gpt_neox": wide,
        "llama": dict(wide, num_key_value_heads=2), "qwen2": dict(wide, num_key_value_heads=2),
        "t5-encoder": dict(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=60),
        "bart-encoder": dict(d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=48, vocab_size=60, max_position_embeddings=40),
        "swin": dict(embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, image_size=64, num_labels=7),
        "segformer": dict(hidden_sizes=[8, 16, 32, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 4, 4], decoder_hidden_size=16, num_labels=7),
        "convnextv2": dict(hidden_sizes=[8, 16, 32, 48], depths=[1, 1, 2, 1], num_labels=7),
        "mobilevit": dict(image_size=64, hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 12, 16, 20, 24, 28, 64], num_labels=7),
        "mobilenet_v2": dict(image_size=64, depth_multiplier=0.35, num_labels=7), "poolformer": dict(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_labels=7),
        "pvt": dict(image_size=64, hidden_sizes=[8, 16, 32, 48], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 4, 4], num_labels=7),
        "resnet": dict(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], num_labels=7), "regnet": dict(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], groups_width=8, num_labels=7),
        "levit": dict(image_size=224, hidden_sizes=[32, 48, 64], num_attention_heads=[2, 3, 4], depths=[1, 1, 1], num_labels=7),
        "audio-spectrogram-transformer": dict(hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=48, max_length=64, num_mel_bins=32, num_labels=7),
        "whisper-encoder": dict(d_model=32, encoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48, num_mel_bins=16, max_source_positions=50, vocab_size=60, pad_token_id=1, bos_token_id=2, eos_token_id=2, decoder_start_token_id=3),
        "rembert": dict(wide, input_embedding_size=16), "ibert": dict(wide, quant_mode=False), "xmod": dict(wide, languages=["en"], default_language="en", pad_token_id=1), "data2vec-text": dict(wide, pad_token_id=1),
        "flaubert": dict(emb_dim=32, n_layers=2, n_heads=4, n_words=60, vocab_size=60, max_position_embeddings=40), "esm": dict(wide, pad_token_id=1, mask_token_id=3), "big_bird": dict(wide, attention_type="original_full"),
        "longformer": dict(wide, attention_window=[4, 4]), "opt": dict(hidden_size=32, word_embed_proj_dim=32, num_attention_heads=4, num_hidden_layers=2, ffn_dim=48, vocab_size=60, max_position_embeddings=40),
        "gpt_neo": dict(hidden_size=32, num_heads=4, num_layers=2, attention_types=[[["global", "local"], 1]], window_size=4, vocab_size=60, max_position_embeddings=40),
        "bloom": dict(hidden_size=32, n_layer=2, n_head=4, vocab_size=60), "mistral": dict(wide, num_key_value_heads=2), "phi": wide, "gemma": dict(wide, num_key_value_heads=2, head_dim=8),
        "mbart-encoder": dict(d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=48, vocab_size=60, max_position_embeddings=40),
        "m2m_100-encoder": dict(d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=48, vocab_size=60, max_position_embeddings=40),
        "mt5-encoder": dict(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=60),
        "swinv2": dict(embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, image_size=64, num_labels=7), "focalnet": dict(embed_dim=16, depths=[1, 1], focal_levels=[2, 2], focal_windows=[3, 3], hidden_sizes=[16, 32], image_size=64, num_labels=7),
        "hiera": dict(embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 4], image_size=[64, 64], num_labels=7), "pvt_v2": dict(image_size=64, hidden_sizes=[8, 16, 32, 48], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 4, 4], num_labels=7),
        "cvt": dict(embed_dim=[8, 16, 32], depth=[1, 2, 3], num_heads=[1, 2, 4], num_labels=7), "bit": dict(embedding_size=8, hidden_sizes=[32, 64], depths=[1, 1], num_groups=4, num_labels=7),
        "efficientnet": dict(image_size=64, width_coefficient=0.25, depth_coefficient=0.25, hidden_dim=320, num_labels=7), "mobilenet_v1": dict(image_size=64, depth_multiplier=0.25, num_labels=7), "mobilevitv2": dict(image_size=64, width_multiplier=0.25, num_labels=7),
    }
    sound = dict(hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=48, conv_dim=[16, 16, 16], conv_kernel=[10, 3, 2], conv_stride=[5, 2, 2], num_feat_extract_layers=3, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4, vocab_size=30)
    wide_pictures = ["vit", "deit", "beit", "dinov2", "dinov2_with_registers", "dinov3_vit", "data2vec-vision", "vit_msn", "ijepa", "clip_vision", "siglip_vision"]
    sounds = ["wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "sew", "data2vec-audio", "wav2vec2-conformer"]
    settings = more.get(name) or (sound if name in sounds else pictures if name in wide_pictures else wide)
    kind = name.removesuffix("-encoder") + ("_model" if name.startswith(("clip_", "siglip_")) else "")
    if name == "modernbert":
        settings = {k: v for k, v in settings.items() if k != "attn_implementation"}
    config = AutoConfig.for_model(kind, **settings)
    rng = torch.Generator().manual_seed(seed)
    images = lambda size: torch.randn(2, 3, size, size, generator=rng)
    if name in ["t5-encoder", "mt5-encoder"]:
        network = (transformers.T5EncoderModel if name == "t5-encoder" else transformers.MT5EncoderModel)(config)
    elif name in ["bart-encoder", "mbart-encoder", "m2m_100-encoder"]:
        network = AutoModel.from_config(config).encoder
    elif name == "whisper-encoder":
        mel = torch.randn(2, 16, 100, generator=rng)
        return transformers.WhisperModel(config).encoder, [mel], ["input_features"], [[0]]
    elif name in sounds:
        return AutoModel.from_config(config), [torch.randn(2, 1200, generator=rng)], ["input_values"], [[0]]
    elif name == "audio-spectrogram-transformer":
        return transformers.ASTForAudioClassification(config), [torch.randn(2, 64, 32, generator=rng)], ["input_values"], [[0]]
    elif name in ["deit", "levit"]:
        # The automatic class cannot choose between those with and without a teacher.
        network = (transformers.DeiTForImageClassification if name == "deit" else transformers.LevitForImageClassification)(config)
        return network, [images(config.image_size)], ["pixel_values"], [[0]]
    elif name in ["clip_vision", "siglip_vision", "dinov3_vit"]:
        return AutoModel.from_config(config), [images(64)], ["pixel_values"], [[0]]
    elif name in pictures_of(more, wide_pictures):
        size = settings.get("image_size", 64)
        size = size[0] if isinstance(size, list) else size
        return AutoModelForImageClassification.from_config(config), [images(size)], ["pixel_values"], [[0]]
    else:
        config.num_labels = 3
        network = AutoModelForSequenceClassification.from_config(config) if name not in [*BARE] else AutoModel.from_config(config)
    ids = torch.randint(4, 60, (2, 12), generator=rng)
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 9:] = 0
    if hasattr(network.config, "use_cache"):
        network.config.use_cache = False
    return network, [ids, mask], ["input_ids", "attention_mask"], [[0, 1], [0, 1]]


def pictures_of(more, wide):
    return wide + [n for n in more if n in ["swin", "segformer", "convnextv2", "mobilevit", "mobilenet_v2", "poolformer", "pvt", "resnet", "regnet", "swinv2", "focalnet", "hiera", "pvt_v2", "cvt", "bit", "efficientnet", "mobilenet_v1", "mobilevitv2"]]


def network(name, seed):
    library, _, rest = name.partition(".")
    if library == "transformers":
        module, args, names, free = transformers_network(rest, seed)
        return Head(module, names), args, names, free
    if library == "torchvision":
        import torchvision

        extra = {"googlenet": dict(aux_logits=False, init_weights=False), "inception_v3": dict(aux_logits=False, init_weights=False)}
        module = torchvision.models.get_model(rest, weights=None, num_classes=7, **extra.get(rest, {}))
    else:
        import timm

        module = timm.create_model(rest, pretrained=False, num_classes=7)
    own_px = module.default_cfg["input_size"][-1] if library == "timm" else 224
    size_px = (TORCHVISION if library == "torchvision" else TIMM).get(rest, own_px)
    images = torch.randn(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed))
    return module, [images], ["image"], [[0]]


def unlike(module):
    """Exporters merge equal tensors, and layers that begin as zero say nothing: both are moved apart."""
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in module.parameters():
            if p.dim() < 2 or p.float().std() < 1e-3:
                p.add_(torch.randn(p.shape, generator=rng) * 0.02)
        for m in module.modules():
            if isinstance(m, torch.nn.modules.batchnorm._BatchNorm) and m.running_mean is not None:
                m.running_mean.add_(torch.randn(m.running_mean.shape, generator=rng) * 0.05)
                m.running_var.mul_(torch.rand(m.running_var.shape, generator=rng) + 0.5)


def shaken(module, args):
    """How far gradients move, relative to their norms, when parameters move by some eight units in the last place.

    Where a ReLU is at zero or two maxima are equal, rounding decides which gradient is right, and a comparison says nothing.
    """
    rng = torch.Generator().manual_seed(3)
    before, norms = [p.detach().clone() for p in module.parameters()], []
    for _ in range(4):
        module.zero_grad()
        # Some keep tables from one run to the next, which only training mode drops.
        rows = module.train().eval()(*args)
        rows = rows.reshape(-1, rows.shape[-1])
        torch.nn.functional.cross_entropy(rows, torch.arange(rows.shape[0]) % rows.shape[1]).backward()
        norms.append([p.grad.double().norm().item() for p in module.parameters() if p.grad is not None])
        with torch.no_grad():
            for p, b in zip(module.parameters(), before):
                p.copy_(b * (1 + 2**-20 * torch.randn(b.shape, generator=rng)))
    with torch.no_grad():
        for p, b in zip(module.parameters(), before):
            p.copy_(b)
    largest = max(norms[0])
    return max(abs(a - b) / max(a, 1e-3 * largest) for other in norms[1:] for a, b in zip(norms[0], other))


def calm(name):
    """The network with the first inputs that no kink is near; with the calmest of some if all are near one."""
    moves = {}
    for seed in range(1, 9):
        torch.manual_seed(0)
        module, args, names, free = network(name, seed)
        unlike(module)
        module.eval()
        moves[seed] = shaken(module, args)
        if moves[seed] < SHAKEN_MAX:
            return module, args, names, free
    seed = min(moves, key=moves.get)
    print(f"{name}: gradients of all inputs are near a kink; the calmest moves by {moves[seed]:.0e}", file=sys.stderr)
    return module, network(name, seed)[1], names, free


def make(out, name, kind):
    from make import record

    module, args, names, free = calm(name)
    path = os.path.join(out, f"{name}.{kind}.onnx")
    words = ["batch", "sequence"]
    with torch.no_grad():
        if kind == "script":
            axes = {n: {i: words[i] for i in f} for n, f in zip(names, free)}
            torch.onnx.export(module, tuple(args), path, dynamo=False, input_names=names, output_names=["output"], dynamic_axes=axes, opset_version=17)
        else:
            shapes = [{i: torch.export.Dim.DYNAMIC for i in f} for f in free]
            export = lambda shapes: torch.onnx.export(module, tuple(args), path, dynamo=True, input_names=names, output_names=["output"], dynamic_shapes=shapes, external_data=False, verbose=False)
            try:
                # A network whose parameters are collected in *args takes one tuple of them.
                export((tuple(shapes),) if isinstance(module, Head) else tuple(shapes))
            except Exception as error:
                print(f"{name}: not for any batch: {str(error).splitlines()[0]}", file=sys.stderr)
                export(None)
    record(path, {n: a.numpy() for n, a in zip(names, args)}, module.train().eval(), args)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    if "--one" in sys.argv:
        make(*sys.argv[2:5])
        sys.exit()
    out, names = sys.argv[1], sys.argv[2:] or NETWORKS
    os.makedirs(out, exist_ok=True)
    for name in names:
        for kind in KINDS:
            if os.path.exists(os.path.join(out, f"{name}.{kind}.json")):
                continue
            # A process each: an exporter that fails or keeps its memory spoils nothing but its own network.
            start = time.time()
            done = subprocess.run([sys.executable, __file__, "--one", out, name, kind], capture_output=True, text=True)
            what = "exported" if done.returncode == 0 else "not exported: " + (done.stderr.strip().splitlines() or ["?"])[-1]
            print(f"{name}.{kind}: {what} ({time.time() - start:.0f} s)", flush=True)

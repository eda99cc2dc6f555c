//! Models in and out: safetensors, PyTorch files, Hugging Face folders.

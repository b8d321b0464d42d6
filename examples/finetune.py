"""Fine-tuning in plain PyTorch, with layer-wise decay of the learning rate.

    python examples/finetune.py runs/latest/encoder my/images 10

The folder has a folder of images a class; the number is of epochs.
"""

import sys

import torch
from timm.data import create_transform
from torch import nn
from torchvision.datasets import ImageFolder

import selfsup
from selfsup.optim import parameter_groups

folder, images, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3])
device = "cuda" if torch.cuda.is_available() else "cpu"
encoder = selfsup.load_encoder(folder)
augmented = create_transform(encoder.input_size, is_training=True, mean=encoder.mean, std=encoder.std)
data = ImageFolder(images, augmented)
loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True, drop_last=len(data) > 32)
model = nn.Sequential(encoder, nn.Linear(encoder.dim, len(data.classes))).to(device).train()

# With and without weight decay; at layer_decay=0.75 the lowest layer of twelve learns some forty times slower
# than the head.
base_lr = 5e-4
groups = parameter_groups(model, weight_decay=0.05, layer_decay=0.75)
optimizer = torch.optim.AdamW([{**group, "lr": base_lr * group["lr_scale"]} for group in groups])
schedule = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, [group["lr"] for group in optimizer.param_groups], total_steps=epochs * len(loader)
)
for epoch in range(epochs):
    right = seen = 0
    for batch, labels in loader:
        batch, labels = batch.to(device), labels.to(device)
        logits = model(batch)
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        right, seen = right + int((logits.argmax(1) == labels).sum()), seen + len(labels)
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}, {right / seen:.1%} of the training images right")
torch.save(model.state_dict(), "finetuned.pt")

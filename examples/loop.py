"""The training loop without a trainer: any method, on digits: python examples/loop.py barlow 3 (epochs)."""

import sys

import torch

from selfsup.build import count_classes, count_samples, make_encoder, make_method
from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.data.batches import make_order, training_loader

config = load_config("train", [f"method={sys.argv[1]}"])
torch.manual_seed(config["seed"])
source, _ = load_data(config["data"])
count_samples(config, len(source))  # some methods make a class of each
count_classes(config, source)
method = make_method(config, make_encoder(config), devices=1).train()
order = make_order(source, config["batch_size"], config["seed"])
loader = training_loader(source, method.views, order, workers=0)
optimizer, steps = method.configure_optimizers(), int(sys.argv[2]) * len(order)
for order.epoch in range(int(sys.argv[2])):
    for step, raw in enumerate(loader, order.epoch * len(order)):
        method.set_rates(optimizer, step, steps)
        output = method(method.batch(raw, step, steps))  # views, encoder, heads, objective
        optimizer.zero_grad()
        output.loss.backward()
        method.before_update(step, steps)  # gradients are clipped
        optimizer.step()
        method.after_step(step, steps)  # a teacher follows, a queue moves on
        method.forget()
        print(f"step {step + 1}: loss {output.loss.item():.4f}")

"""Training in several processes: what they share, and what only the first of them does.

The processes are started by torchrun, by SLURM's srun, or by Lightning Fabric from the first one. Fabric is
imported only where there are several.
"""

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from dkpvid.config import TrainConfig
from dkpvid.devices import choose_device, use_deterministic_algorithms
from dkpvid.errors import DkpvidError, UsageError
from dkpvid.shapes import Int

Result = TypeVar("Result")


class Processes:
    """One process that trains alone; `ProcessGroup` is the same for several."""

    rank = 0
    """The number of this process; 0 is the first, which alone writes the run folder."""
    count = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def part(self, batch: Int[ndarray, " batch"]) -> Int[ndarray, " part"]:
        """The samples of a step that this process works on."""
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    def first(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Do something in the first process; all get its result.

        Raises:
            DkpvidError: it failed; the other processes exit with that error's code, without a word.
        """
        return work(*arguments)

    def in_turn(self, work: Callable[[], Result]) -> Result:
        """Do something in the first process, then in the others, which find what it left in the cache."""
        return work()

    def synchronise(self, model: nn.Module) -> None:
        """Let batch norm look at the whole batch, where that can be had."""

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> nn.Module:
        """The model to call in the loop; its state and the optimizer's are the first process's."""
        return model

    def seed(self, seed: int, step: int) -> None:
        """Choose this step's random numbers. One process goes on with those that it has."""

    def mean(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """The losses of the whole batch; waits for the device."""
        return {name: loss.item() for name, loss in losses.items()}

    def any(self, is_true: bool) -> bool:
        """Whether it is true in any process."""
        return is_true


class ProcessGroup(Processes):
    """One of several processes; each works on its part of every batch, and gradients are averaged.

    Masks, flips and crops follow from seed, step and rank, so any number of processes can resume a run.
    """

    def __init__(self, fabric: Any) -> None:
        super().__init__(fabric.device)
        self.rank = fabric.global_rank
        self.count = fabric.world_size
        self._fabric = fabric
        # Over the CPU: small messages must not wait for the GPU. The first process may make depth maps for
        # hours while the others wait.
        self._messages: Any = torch.distributed.new_group(backend="gloo", timeout=timedelta(days=7))

    def first(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """See `Processes.first`; the result travels pickled, between our own processes."""
        result: Any = None
        if self.rank == 0:
            try:
                result = work(*arguments)
            except DkpvidError as error:
                result = error
        message = [result]
        torch.distributed.broadcast_object_list(message, group=self._messages)
        if self.rank == 0:
            message = [result]  # the object itself, not its copy
        if isinstance(message[0], DkpvidError):
            raise message[0] if self.rank == 0 else SystemExit(message[0].exit_code)
        answer: Result = message[0]
        return answer

    def in_turn(self, work: Callable[[], Result]) -> Result:
        """See `Processes.in_turn`."""
        results: list[Result] = []
        self.first(lambda: results.extend([work()]))
        return work() if self.rank else results[0]

    def synchronise(self, model: nn.Module) -> None:
        """See `Processes.synchronise`. PyTorch has it for CUDA only; on CPUs each looks at its part."""
        if self.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> nn.Module:
        """See `Processes.setup`; the model's state is shared by DistributedDataParallel."""
        state = self.first(lambda: _on_cpu(optimizer.state_dict()))
        if self.rank:
            optimizer.load_state_dict(state)
        wrapped: nn.Module = self._fabric.setup(model, optimizer, move_to_device=False)[0]
        return wrapped

    def seed(self, seed: int, step: int) -> None:
        """See `Processes.seed`."""
        torch.manual_seed(int(np.random.SeedSequence([seed, step, self.rank]).generate_state(1)[0]))

    def mean(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """See `Processes.mean`."""
        means = self._fabric.all_reduce(torch.stack([loss.detach() for loss in losses.values()]))
        return dict(zip(losses, means.tolist(), strict=True))

    def any(self, is_true: bool) -> bool:
        """See `Processes.any`."""
        flag = torch.tensor([is_true], dtype=torch.uint8)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX, group=self._messages)
        return bool(flag.item())


def start_processes(config: TrainConfig) -> Processes:
    """Join the processes of a training, after starting them where no launcher did.

    Args:
        config: Of it, devices, nodes, strategy, device, deterministic and batch size.

    Raises:
        UsageError: there are not so many devices, or the batch cannot be split over them.
    """
    devices, nodes = _launched() or (config.devices or 1, config.nodes or 1)
    for name, wanted, there in (("devices", config.devices, devices), ("nodes", config.nodes, nodes)):
        if wanted not in (None, there):
            raise UsageError(
                f"--{name} is {wanted}, but {there} were started; leave it out, or start {wanted}"
            )
    if config.deterministic:
        use_deterministic_algorithms()
    device = choose_device(config.device)
    count = devices * nodes
    if count == 1 and config.strategy == "auto":
        return Processes(device)
    if device.type == "mps" or device.index is not None:
        raise UsageError(f"several processes take --device auto, cpu or cuda, got {config.device}")
    if device.type == "cuda" and torch.cuda.device_count() < devices:
        raise UsageError(f"--devices is {devices}, but there are {torch.cuda.device_count()} CUDA devices")
    if config.batch_size % count or config.batch_size < 2 * count:
        raise UsageError(
            f"a batch of {config.batch_size} cannot be split over {count} processes; "
            "--batch-size must be a multiple of them, with at least 2 frames for each"
        )
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its greeting
    # Precision is the loop's own business, so that one process and several compute alike.
    fabric = Fabric(accelerator=device.type, devices=devices, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return ProcessGroup(fabric)


def is_first_process() -> bool:
    """Whether this is the process that speaks to the user."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _launched() -> tuple[int, int] | None:
    """Processes on each node, and nodes, as started by torchrun or srun."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        return devices, int(os.environ["WORLD_SIZE"]) // devices
    # Set by srun alone: a batch script that runs without srun is one process, whatever was reserved for it.
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        nodes = int(os.environ.get("SLURM_STEP_NUM_NODES", 1))
        return int(os.environ["SLURM_STEP_NUM_TASKS"]) // nodes, nodes
    return None


def _on_cpu(state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state, not on the GPU of the process that has it."""
    of_parameters = {
        number: {name: value.cpu() if isinstance(value, Tensor) else value for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": of_parameters}

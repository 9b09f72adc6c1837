"""What all trainings share: the method, the optimizer, the number format, validation. Light: recipes import it."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from metier.core import Step
from metier.core.types import Model
from metier.train.watch.options import Watch

Method = Literal["full", "lora", "qlora", "freeze"]
Precision = Literal["auto", "bf16", "fp16", "fp32"]
Optimizer = Literal["adamw", "adamw_8bit", "paged_adamw_8bit", "adafactor", "lion", "sgd"]
PairLoss = Literal["sigmoid", "hinge", "ipo", "robust", "apo_zero", "sigmoid_norm", "simpo", "orpo"]
Scheduler = Literal["cosine", "linear", "constant"]


class Lora(BaseModel):
    """A low-rank adapter: Hu et al. 2021, "LoRA"; on all linear layers as in Dettmers et al. 2023, "QLoRA"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(16, ge=1, description="rank of the adapter's matrices")
    alpha: int = Field(32, ge=1, description="the adapter is scaled by alpha / rank, with rslora by alpha / sqrt(rank)")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on what enters the adapter")
    targets: tuple[str, ...] | Literal["all-linear"] = Field(
        "all-linear", description="names of the layers that get one, as [q_proj, v_proj]; the head gets none"
    )
    rslora: bool = Field(
        False, description="scale by alpha / sqrt(rank), for ranks of 64 and more (Kalajdzievski 2023)"
    )
    dora: bool = Field(False, description="train direction and length of each column apart (Liu et al. 2024)")


class Settings(NamedTuple):
    """What a training needs to know besides its rows. See `TrainingStep` for what each says."""

    learning_rate: float
    warmup: float
    weight_decay: float
    seed: int
    method: Method = "full"
    lora: Lora = Lora()
    trained_layers: int = 2
    precision: Precision = "auto"
    gradient_checkpointing: bool = False
    optimizer: Optimizer = "adamw"
    scheduler: Scheduler = "cosine"
    max_grad_norm: float | None = 1.0
    neftune_noise_alpha: float | None = None
    dropout: float = 0.0
    compile: bool | Literal["auto"] = False
    liger: bool = False
    evaluations: int = 10
    patience: int | None = None
    watch: Watch = Watch()

    @property
    def adapter(self) -> bool:
        """Whether an adapter is trained and the base stays as it is."""
        return self.method in ("lora", "qlora")

    @property
    def unheeded(self) -> list[str]:
        """Return the fields that say something which the method does not heed."""
        usual = Settings(self.learning_rate, self.warmup, self.weight_decay, self.seed)
        heeded = {"lora": self.adapter, "trained_layers": self.method == "freeze"}
        return [name for name, is_ in heeded.items() if not is_ and getattr(self, name) != getattr(usual, name)]


class TrainingStep(Step[Model]):
    """Fields of every training on a fixed set of rows."""

    on_all_processes: ClassVar[bool] = True

    learning_rate: float | None = Field(None, gt=0, description="peak of the learning rate; None: by method")
    warmup: float = Field(0.1, ge=0, le=1, description="share of the steps over which the learning rate rises")
    scheduler: Scheduler = Field("cosine", description="how the learning rate falls after the warm-up")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    optimizer: Optimizer = Field("adamw", description="the optimizer; those in 8 bits need bitsandbytes")
    max_grad_norm: float | None = Field(1.0, gt=0, description="gradients longer than this are shortened; None: never")
    method: Method = Field(
        "full",
        description="full: all weights; lora: an adapter; qlora: an adapter on a 4-bit base; freeze: last layers",
    )
    lora: Lora = Field(Lora(), description="the adapter of `lora` and `qlora`")
    trained_layers: int = Field(2, ge=1, description="how many last layers `freeze` trains")
    precision: Precision = Field(
        "auto", description="number format of matrix products; auto: bf16 where it is fast here, else fp32"
    )
    gradient_checkpointing: bool = Field(
        False, description="work activations out twice instead of keeping them: less memory, a third more time"
    )
    pass_tokens: int | None = Field(
        None,
        ge=16,
        description="tokens of a forward pass at most, the longest row apart; fewer need less memory. "
        "None: 1024 on cores, on GPUs up to 16,384 as the plan says that they fit",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout of attention weights")
    neftune_noise_alpha: float | None = Field(
        None, gt=0, description="noise on the embeddings, scaled by each row's length (NEFTune, Jain et al. 2023: 5)"
    )
    compile: bool | Literal["auto"] = Field(
        False, description="torch.compile the layers: pays in long runs; auto: where a short trial shows that it does"
    )
    liger: bool = Field(False, description="Liger's fused kernels, on a GPU with liger-kernel installed")
    validation_share: float = Field(
        0.0, ge=0, lt=0.5, description="share of the rows set aside, whose loss chooses the weights that are kept"
    )
    evaluations: int = Field(10, ge=1, description="how often the loss on those rows is looked at")
    patience: int | None = Field(None, ge=1, description="stop after so many looks without a better loss; None: never")
    watch: Watch = Field(
        Watch(),
        description="what is watched while it trains, and what is done about it, see `docs/how-to/read-the-watch.md`",
    )
    seed: int = Field(0, description="seed of the order of rows")

    @model_validator(mode="after")
    def _patience_needs_rows(self) -> TrainingStep:
        if self.patience is not None and self.validation_share == 0:
            raise ValueError("`patience` needs rows to look at: set `validation_share`, as 0.05")
        return self

    def default_rate(self) -> float:
        """Return the learning rate where none is given."""
        raise NotImplementedError

    def settings(self) -> Settings:
        """Return what the trainer needs to know."""
        told = {name: getattr(self, name) for name in Settings._fields if name != "learning_rate"}
        return Settings(learning_rate=self.learning_rate or self.default_rate(), **told)

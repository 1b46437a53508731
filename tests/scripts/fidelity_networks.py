"""Counters and their losses, with the same random weights and images in both networks."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy
import torch
from fidelity_public import Clone, Pairs, compare, print_nothing, without_decorator
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from benchmark.data.batches import Batch
from benchmark.data.density import adaptive_sigmas, density_maps, dot_maps
from benchmark.registry import build
from models.base import Counter

MAPS = "density maps of two images"
READ = "read from a checkpoint with random weights"
SIDE = 128  # of a crop, in pixels
HEADS = 12
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Of the public CLIP-EBC; the last anchor may be any number of 4 or more.
BINS = [(count, count) for count in range(4)] + [(4, float("inf"))]
ANCHORS = [0, 1, 2, 3, 4.4]


@torch.no_grad()
def randomised(network: nn.Module) -> nn.Module:
    """A network in evaluation mode with random weights that keep the scale of its input.

    The running averages of BatchNorm are random too.
    """
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(std=(2 / parameter[0].numel()) ** 0.5)
        elif name.endswith("bias"):
            parameter.normal_(std=0.1)
        elif parameter.dim() == 1:  # the weight of a normalisation
            parameter.uniform_(0.5, 1.5)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return network.eval()


def read_by(model: str, original: nn.Module, **settings: Any) -> Counter:
    """Our counter, read from a checkpoint of the original as a user would read it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "public.pth"
        torch.save(original.state_dict(), path)
        return build("model", model, {"weights": path, **settings}).eval()


def random_images(height: int = 96, width: int = 128) -> Tensor:
    """Two random images, [2, 3, H, W] in 0..1."""
    return torch.rand(2, 3, height, width)


def normalised(images: Tensor) -> Tensor:
    """Images normalised as the public codes normalise them."""
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@torch.no_grad()
def same_maps(ours: Callable[[Tensor], Tensor], original: Callable[[Tensor], Tensor],
              **size: int) -> Pairs:
    """The maps of both networks for the same two images."""
    images = random_images(**size)
    yield ours(images), original(normalised(images))


@compare("model", "csrnet", f"{MAPS}, {READ}", "leeyeehoo/CSRNet-pytorch")
def csrnet(clone: Clone) -> Pairs:
    original = randomised(clone.load("model.py").CSRNet(load_weights=True))
    return same_maps(read_by("csrnet", original), original)


@compare("model", "can", f"{MAPS}, {READ}", "weizheliu/Context-Aware-Crowd-Counting")
def can(clone: Clone) -> Pairs:
    original = randomised(clone.load("model.py").CANNet(load_weights=True))
    return same_maps(read_by("can", original), original)


@compare("model", "dm_count", f"{MAPS}, {READ}", "cvlab-stonybrook/DM-Count")
def dm_count(clone: Clone) -> Pairs:
    public = clone.load("models.py", "VGG", "make_layers", "cfg")
    original = randomised(public.VGG(public.make_layers(public.cfg["E"])))
    return same_maps(read_by("dm_count", original), lambda images: original(images)[0])


@compare("model", "bayesian", f"{MAPS}, {READ}", "ZhihengCV/Bayesian-Crowd-Counting")
def bayesian(clone: Clone) -> Pairs:
    public = clone.load("models/vgg.py", "VGG", "make_layers", "cfg")
    original = randomised(public.VGG(public.make_layers(public.cfg["E"])))
    return same_maps(read_by("bayesian", original), original)


@compare("model", "mcnn", f"{MAPS}, {READ} (`pixels=rgb`)", "CommissarMa/MCNN-pytorch")
@torch.no_grad()
def mcnn(clone: Clone) -> Pairs:
    original = randomised(clone.load("mcnn_model.py").MCNN(load_weights=True))
    images = random_images()
    yield read_by("mcnn", original, pixels="rgb")(images), original(255 * images)


@compare("model", "sfanet", f"{MAPS} and their attention, {READ}",
         "pxq0312/SFANet-crowd-counting")
@torch.no_grad()
def sfanet(clone: Clone) -> Pairs:
    public = clone.load("models.py")
    public.Model.load_vgg = lambda self: None  # it would download ImageNet weights
    original = randomised(public.Model())
    ours = read_by("sfanet", original)
    images = random_images()
    density, logits = ours.apply_layers(images, ours.density_and_attention).split(1, dim=1)
    yield from zip((density, logits.sigmoid()), original(normalised(images)))


def rearrange(tensor: Tensor, pattern: str, h: int = 0, w: int = 0) -> Tensor:
    """The two patterns of einops by which the public code resizes a position embedding."""
    if pattern == "(h w) c -> c h w":
        return tensor.mT.unflatten(1, (h, w))
    if pattern == "c h w -> (h w) c":
        return tensor.flatten(1).mT
    raise ValueError(f"rearrange: expected a pattern that is known here, got {pattern!r}")


def public_encoders(clone: Clone) -> SimpleNamespace:
    """The two encoders of CLIP in the public CLIP-EBC, without their download of weights."""
    import open_clip

    folder = "models/clip/_clip"
    blocks = clone.load(f"{folder}/blocks.py", OrderedDict=OrderedDict)
    image = clone.load(f"{folder}/image_encoder.py", "ModifiedResNet", "VisionTransformer",
                       Bottleneck=blocks.Bottleneck, LayerNorm=blocks.LayerNorm,
                       Transformer=blocks.Transformer, rearrange=rearrange)
    text = clone.load(f"{folder}/text_encoder.py", LayerNorm=blocks.LayerNorm,
                      Transformer=blocks.Transformer)
    sizes = {"context_length": 77, "vocab_size": 49408, "transformer_width": 512,
             "transformer_heads": 8, "transformer_layers": 12}
    return SimpleNamespace(
        tokenize=open_clip.get_tokenizer("RN50"),
        resnet50_img=lambda **options: image.ModifiedResNet(
            layers=(3, 4, 6, 3), output_dim=1024, input_resolution=224, heads=32, **options),
        resnet50_txt=lambda: text.CLIPTextEncoder(embed_dim=1024, **sizes),
        vit_b_16_img=lambda input_size, **options: image.VisionTransformer(
            input_size, 16, output_dim=512, width=768, layers=12, heads=12, **options),
        vit_b_16_txt=lambda: text.CLIPTextEncoder(embed_dim=512, **sizes))


def public_clip_ebc(clone: Clone, backbone: str = "resnet50") -> nn.Module:
    """The public CLIP-EBC with random weights. backbone: 'resnet50' or 'vit_b_16'."""
    layers = clone.load("models/utils.py", "conv1x1", "conv3x3", "BasicBlock", "Bottleneck",
                        "make_resnet_layers", "_init_weights")
    words = clone.load("models/clip/utils.py", "num_to_word", "num2word", "format_count")
    public = clone.load(
        "models/clip/model.py", "CLIP_EBC", "_clip_ebc", "resnet_backbones", "vit_backbones",
        _clip=public_encoders(clone), make_resnet_layers=layers.make_resnet_layers,
        Bottleneck=layers.Bottleneck, BasicBlock=layers.BasicBlock,
        _init_weights=layers._init_weights, format_count=words.format_count, print=print_nothing)
    # The last three are the defaults of its trainer, and for a vision transformer only.
    network = public._clip_ebc(backbone, BINS, ANCHORS, reduction=8, prompt_type="word",
                               input_size=224, num_vpt=32, deep_vpt=True, vpt_drop=0.0)
    randomised(network)
    network._extract_text_features()  # those of the random weights
    return network


@torch.no_grad()
def same_classes(ours: Counter, original: nn.Module, **size: int) -> Pairs:
    """The maps of both networks for the same two images, and their logits."""
    images = random_images(**size)
    yield ours(images), original(normalised(images))
    original.training = True  # it then returns its logits too; BatchNorm stays as it is
    yield ours.apply_layers(images, ours.logits), original(normalised(images))[0]


@compare("model", "clip_ebc", f"{MAPS} and their logits, {READ} (ResNet-50)", "Yiming-M/CLIP-EBC")
def clip_ebc(clone: Clone) -> Pairs:
    original = public_clip_ebc(clone)
    ours = read_by("clip_ebc", original, last_anchor=4.4)
    return same_classes(ours, original, height=64, width=96)


@compare("model", "clip_ebc_vit", f"{MAPS} and their logits, {READ} (ViT-B/16)",
         "Yiming-M/CLIP-EBC")
def clip_ebc_vit(clone: Clone) -> Pairs:
    original = public_clip_ebc(clone, "vit_b_16")
    ours = read_by("clip_ebc_vit", original, last_anchor=4.4)
    return same_classes(ours, original, height=64, width=96)


@compare("model", "clip_ebc_vit", "density map of an image of 256 x 344 pixels in four windows of "
         f"224 pixels that overlap, {READ}", "Yiming-M/CLIP-EBC")
@torch.no_grad()
def clip_ebc_vit_windows(clone: Clone) -> Pairs:
    original = public_clip_ebc(clone, "vit_b_16")
    in_windows = clone.load("utils/eval_utils.py", "sliding_window_predict").sliding_window_predict
    image = random_images(256, 344)[:1]
    ours = read_by("clip_ebc_vit", original, last_anchor=4.4)
    yield ours(image), in_windows(original, normalised(image), 224, 224)


def public_classifier(clone: Clone, file: str, *names: str) -> nn.Module:
    """A public classifier of blocks, with random weights and without its download.

    file: of its network in models/encoder_decoder. names: what the file defines of it; the last one
        makes the network.
    """
    layers = clone.load("models/utils.py", "make_vgg_layers", "vgg_cfgs", "_init_weights")
    network = clone.load(f"models/encoder_decoder/{file}", *names,
                         make_vgg_layers=layers.make_vgg_layers, vgg_cfgs=layers.vgg_cfgs,
                         _init_weights=layers._init_weights,
                         vgg_urls={"vgg16": "", "vgg19": ""},
                         _load_weights=lambda network, url: network)
    public = clone.load("models/model.py", "Classifier", _init_weights=layers._init_weights)
    return randomised(public.Classifier(getattr(network, names[-1])(), BINS, ANCHORS))


@compare("model", "csrnet_ebc", f"{MAPS} and their logits, {READ}", "Yiming-M/CLIP-EBC")
def csrnet_ebc(clone: Clone) -> Pairs:
    original = public_classifier(clone, "csrnet.py", "encoder_cfg", "decoder_cfg", "CSRNet",
                                 "csrnet")
    return same_classes(read_by("csrnet_ebc", original, last_anchor=4.4), original)


@compare("model", "dm_count_ebc", f"{MAPS} and their logits, {READ}", "Yiming-M/CLIP-EBC")
def dm_count_ebc(clone: Clone) -> Pairs:
    original = public_classifier(clone, "vgg.py", "VGG", "vgg19")
    return same_classes(read_by("dm_count_ebc", original, last_anchor=4.4), original)


def public_csrnet_zip(clone: Clone) -> nn.Module:
    """The public ZIP on CSRNet, with random weights and without its download."""
    layers = clone.load("models/ebc/utils.py", "make_vgg_layers")
    start = clone.load("models/utils/utils.py", "_init_weights")
    head = clone.load("models/utils/blocks.py", "conv1x1", _init_weights=start._init_weights)
    vgg = clone.load("models/ebc/vgg.py", "VGG")
    network = clone.load(
        "models/ebc/csrnet.py", "encoder_cfg", "decoder_cfg", "CSRNet", "_csrnet", VGG=vgg.VGG,
        make_vgg_layers=layers.make_vgg_layers, vgg_urls={"vgg16": ""},
        load_state_dict_from_url=lambda url: {}, _init_weights=start._init_weights,
        _get_norm_layer=lambda part: None, _get_activation=lambda part: None)
    public = clone.load("models/ebc/model.py", "EBC", conv1x1=head.conv1x1,
                        supported_models=["csrnet"], _csrnet=network._csrnet)
    return randomised(public.EBC("csrnet", 8, BINS, ANCHORS))


@compare("model", "csrnet_zip", f"{MAPS} and their logits, {READ}", "Yiming-M/EBC-ZIP")
@torch.no_grad()
def csrnet_zip(clone: Clone) -> Pairs:
    original = public_csrnet_zip(clone)
    ours = read_by("csrnet_zip", original)
    images = random_images()
    yield ours(images), original(normalised(images))
    original.training = True  # it then returns its logits too
    empty, counts, rate, _ = original(normalised(images))
    logits = ours.apply_layers(images, ours.logits)
    yield logits, torch.cat([empty, counts], dim=1)
    yield ours.rate(logits), rate


def flattened_places(values: Tensor, pattern: str) -> Tensor:
    """einops.rearrange, for the two patterns of the public loss."""
    return {"B H W -> B (H W)": lambda: values.flatten(1),
            "B C H W -> B (H W) C": lambda: values.flatten(2).mT}[pattern]()


@compare("model", "csrnet_zip", "loss of one image and its gradient in the last convolutions; "
         "small weights there, as the public code adds 1e-8 to each probability",
         "Yiming-M/EBC-ZIP")
def zip_loss(clone: Clone) -> Pairs:
    utils = clone.load("losses/utils.py")
    given = {"_reshape_density": utils._reshape_density, "_bin_count": utils._bin_count}
    poisson = clone.load("losses/zero_inflated_poisson_nll.py", "EPS", "ZIPoissonNLL",
                         "ZICrossEntropy", rearrange=flattened_places, **given)
    windows = clone.load("losses/multiscale_mae.py", "MultiscaleMAE")
    loss = clone.load(
        "losses/loss.py", "QuadLoss", ZIPoissonNLL=poisson.ZIPoissonNLL,
        ZICrossEntropy=poisson.ZICrossEntropy, MultiscaleMAE=windows.MultiscaleMAE, **given,
    ).QuadLoss(SIDE, 8, BINS, aux_loss="msmae", weight_aux=1.0, scales=[1, 2, 4])
    original = public_csrnet_zip(clone)
    original.training = True
    with torch.no_grad():
        original.pi_head.weight.div_(20)
    images = torch.rand(1, 3, SIDE, SIDE)
    heads = torch.cat([random_heads(40), torch.full((5, 2), 20.0)])  # 5 heads in one block
    empty, counts, rate, density = original(normalised(images))
    theirs, _ = loss(counts, density, dot_maps([heads], (SIDE, SIDE), 8), [heads], empty, rate)
    counter = read_by("csrnet_zip", original)
    ours = counter.loss(Batch(images, [heads], [torch.ones(len(heads))]))
    yield ours, theirs[None]
    for head, public in ((counter.classifier, original.bin_head),
                         (counter.emptiness, original.pi_head)):
        yield (torch.autograd.grad(ours.sum(), head.weight, retain_graph=True)[0],
               torch.autograd.grad(theirs, public.weight, retain_graph=True)[0])


def public_p2pnet(clone: Clone) -> nn.Module:
    """The public P2PNet on torchvision's VGG-16-BN, with random weights."""
    from torchvision.models import vgg16_bn

    backbone = clone.load("models/backbone.py")
    public = clone.load("models/p2pnet.py")
    vgg = backbone.BackboneBase_VGG(vgg16_bn(weights=None), 256, "vgg16_bn", True)
    return randomised(public.P2PNet(vgg))


@compare("model", "p2pnet", "offsets, logits and places of all proposals, and the number of those "
         f"that are accepted, for two images, {READ}", "TencentYoutuResearch/CrowdCounting-P2PNet")
@torch.no_grad()
def p2pnet(clone: Clone) -> Pairs:
    original = public_p2pnet(clone)
    ours = read_by("p2pnet", original)
    images = random_images()
    theirs = original(normalised(images))
    places, logits = ours.located(ours.apply_layers(images, ours.proposals))
    yield places, theirs["pred_points"]
    yield logits, theirs["pred_logits"]
    accepted = theirs["pred_logits"].softmax(dim=2)[:, :, 1] > 0.5
    yield ours.count(images), accepted.sum(dim=1).float()


@compare("model", "p2pnet", "both parts of the loss of one image, and the gradient of the cross "
         "entropy in the last convolution of the scores",
         "TencentYoutuResearch/CrowdCounting-P2PNet")
def p2pnet_loss(clone: Clone) -> Pairs:
    original = public_p2pnet(clone)
    images, heads = torch.rand(1, 3, SIDE, SIDE), random_heads(40)
    matcher = clone.load("models/matcher.py", linear_sum_assignment=linear_sum_assignment)
    criterion = clone.load(
        "models/p2pnet.py", "SetCriterion_Crowd", is_dist_avail_and_initialized=lambda: False,
        get_world_size=lambda: 1).SetCriterion_Crowd(
            1, matcher.HungarianMatcher_Crowd(1, 0.05), {}, 0.5, ["labels", "points"])
    theirs = criterion(original(normalised(images)),
                       [{"point": heads, "labels": torch.ones(len(heads), dtype=torch.long)}])
    batch = Batch(images, [heads], [torch.ones(len(heads))])
    ours = {weight: read_by("p2pnet", original, point_weight=weight) for weight in (0.0, 1.0)}
    entropy = ours[0.0].loss(batch)
    yield entropy, theirs["loss_ce"][None]
    yield ours[1.0].loss(batch) - entropy, theirs["loss_point"][None]
    yield (gradient(entropy, ours[0.0].scores[-1].weight),
           gradient(theirs["loss_ce"], original.classification.output.weight))


def random_heads(number: int = HEADS) -> Tensor:
    """Random heads in a crop, [N, 2] as (x, y)."""
    return torch.rand(number, 2) * (SIDE - 1)


def random_density(heads: int) -> Tensor:
    """A random density map of a crop with that many people, [1, 1, SIDE / 8, SIDE / 8]."""
    density = torch.rand(1, 1, SIDE // 8, SIDE // 8) ** 4
    return (density * heads / density.sum()).requires_grad_()


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    """The gradient of a loss, with respect to one tensor."""
    return torch.autograd.grad(loss.sum(), of)[0]


@compare("model", "dm_count", "gradient of the transport cost in a density map",
         "cvlab-stonybrook/DM-Count")
def dm_transport(clone: Clone) -> Pairs:
    from models.parts.transport import transport

    sinkhorn = clone.load("losses/bregman_pytorch.py", "M_EPS", "sinkhorn", "sinkhorn_knopp")
    public = clone.load("losses/ot_loss.py", Module=nn.Module, sinkhorn=sinkhorn.sinkhorn)
    cost = public.OT_Loss(SIDE, 8, False, "cpu")
    density, heads = random_density(HEADS), random_heads()
    original = cost(density / density.sum(), density, [heads.clone()])[0]
    yield gradient(transport(density, [heads], 8), density), gradient(original, density)


def public_dace(clone: Clone) -> SimpleNamespace:
    """The losses of the public CLIP-EBC: DACELoss and DMLoss."""
    autocast = without_decorator
    reshape = clone.load("losses/utils.py")._reshape_density
    sinkhorn = clone.load("losses/bregman_pytorch.py", "M_EPS", "sinkhorn", autocast=autocast)
    matching = clone.load("losses/dm_loss.py", "EPS", "OTLoss", "DMLoss", autocast=autocast,
                          sinkhorn=sinkhorn.sinkhorn, _reshape_density=reshape)
    return clone.load("losses/dace_loss.py", DMLoss=matching.DMLoss, _reshape_density=reshape)


@compare("model", "dm_count", "loss of one image and its gradient in the density map",
         "Yiming-M/CLIP-EBC")
def dm_loss(clone: Clone) -> Pairs:
    from models.parts.transport import distribution_matching

    density, heads = random_density(HEADS + 3), random_heads()
    loss = public_dace(clone).DMLoss(SIDE, 8)
    original = loss(density, dot_maps([heads], (SIDE, SIDE), 8), [heads.clone()])[0]
    ours = distribution_matching(density, [heads], 8, ot_weight=0.1, tv_weight=0.01)
    yield ours, original
    yield gradient(ours, density), gradient(original, density)


@compare("model", "clip_ebc",
         "DACE loss of one image and its gradient in the weights of the projection",
         "Yiming-M/CLIP-EBC")
def dace(clone: Clone) -> Pairs:
    counter = build("model", "clip_ebc", {"weights": "scratch", "clip": "tiny", "last_anchor": 4.4})
    images = torch.rand(1, 3, SIDE, SIDE)
    heads = torch.cat([random_heads(40), torch.full((5, 2), 20.0)])  # 5 heads in one block
    loss = public_dace(clone).DACELoss(BINS, 8, count_loss="dmcount", input_size=SIDE)
    logits = counter.eval().apply_layers(images, counter.logits)
    truth = dot_maps([heads], (SIDE, SIDE), 8)
    original = loss(logits, counter.expected(logits), truth, [heads.clone()])[0]
    ours = counter.loss(Batch(images, [heads], [torch.ones(len(heads))]))
    yield ours, original
    weight = counter.projection.weight
    yield gradient(ours, weight), gradient(original, weight)


@compare("model", "bayesian", "Bayes+ loss of one crop and its gradient in the density map, "
         "every head with a target of 1", "ZhihengCV/Bayesian-Crowd-Counting")
def bayesian_loss(clone: Clone) -> Pairs:
    from models.bayesian import bayesian_loss as loss

    density, heads = random_density(HEADS), random_heads()
    posterior = clone.load("losses/post_prob.py", Module=nn.Module).Post_Prob(
        8.0, SIDE, 8, 1.0, True, "cpu")([heads.clone()], torch.tensor([float(SIDE)]))
    criterion = clone.load("losses/bay_loss.py", Module=nn.Module).Bay_Loss(True, "cpu")
    original = criterion(posterior, [torch.ones(HEADS)], density)
    ours = loss(density[0, 0], heads, 8, float(SIDE))
    yield ours[None], original[None]
    yield gradient(ours, density), gradient(original, density)


@compare("model", "mcnn", "target with widths by the distances of heads; heads at the centres of "
         "pixels and away from the border, where the public code loses people",
         "CommissarMa/MCNN-pytorch")
def adaptive_target(clone: Clone) -> Pairs:
    size = (400, 400)
    pixels = np.random.default_rng(0).integers(100, 300, (60, 2))  # heads as (x, y)
    old_scipy = SimpleNamespace(spatial=scipy.spatial,
                                ndimage=SimpleNamespace(filters=scipy.ndimage))
    public = clone.load("data_preparation/k_nearest_gaussian_kernel.py", "gaussian_filter_density",
                        scipy=old_scipy, print=print_nothing)
    original = public.gaussian_filter_density(np.zeros(size), pixels)
    points = torch.from_numpy(pixels + 0.5)
    sigmas = torch.from_numpy(adaptive_sigmas(points.numpy(), size))
    ours = density_maps([points], [sigmas], size, 4)[0, 0]
    yield ours, torch.from_numpy(original).unfold(0, 4, 4).unfold(1, 4, 4).sum(dim=(2, 3))

"""Parts of defenses, on the same random counters, images and features."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import torch
from fidelity_networks import randomised
from fidelity_public import Clone, Pairs, compare, print_nothing
from torch import Tensor, nn

from benchmark.data.batches import Batch
from benchmark.registry import build
from models.base import Counter

SIDE = 64  # of an image, in pixels
HEADS = 5
RHO = 0.5


def random_counter() -> Counter:
    """A small counter with BatchNorm, with random weights."""
    return randomised(build("model", "tiny", {"width": 16}))


def random_batch(heads: int = HEADS) -> Batch:
    """Two random images with random heads."""
    points = [torch.rand(heads, 2) * SIDE for _ in range(2)]
    return Batch(torch.rand(2, 3, SIDE, SIDE), points, [torch.full((heads,), 4.0)] * 2)


def random_features(images: int = 60, channels: int = 20) -> np.ndarray:
    """Random features of which a fifth lie apart, float64 [n, C]."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((images, channels))
    features[: images // 5] += 4
    return features + 10  # far from 0, so that centring matters


@compare("defense", "nad", "attention maps of two images and the mean squared distance of two such "
         "maps", "bboylyg/NAD")
def nad(clone: Clone) -> Pairs:
    from defenses.nad import attention, distance

    student, teacher = torch.randn(2, 2, 16, 12, 20)
    original = clone.load("at.py").AT(2)
    yield attention(student), original.attention_map(student).flatten(1)
    places = student.shape[-1] * student.shape[-2]  # ours is a sum over them
    yield distance(student, teacher).mean()[None] / places, original(student, teacher)[None]


@compare("defense", "beatrix", "scores of eight random images, from the features of thirty",
         "wanlunsec/Beatrix")
def beatrix(clone: Clone) -> Pairs:
    from defenses.beatrix import Beatrix

    features = torch.randn(38, 12, 5, 7)
    features[30:] *= 1 + torch.linspace(0, 3, 8)[:, None, None, None]  # the images that are scored
    known, scored = features[:30], features[30:]
    original = clone.load("defenses/Beatrix/Beatrix.py").Feature_Correlations(np.arange(1, 9))
    original.train([known])
    trainer = SimpleNamespace(per_image=lambda _, scenes, measure: measure(
        SimpleNamespace(images=torch.stack(scenes))))
    knowledge = SimpleNamespace(clean=list(known), trainer=trainer)
    counter = SimpleNamespace(features=lambda images: images)
    ours = Beatrix().scorer(counter, knowledge)(scored)
    yield ours, torch.from_numpy(original.get_deviations_([scored]))[:, 0]


@compare("defense", "bnp", "divergences of twenty random normal distributions from others; those "
         "of torch.distributions take the place of the equation",
         original="Zheng et al., NeurIPS 2022")
def bnp() -> Pairs:
    from torch.distributions import Normal, kl_divergence

    from defenses.bnp import divergence

    means, variances = torch.randn(2, 20), 0.1 + torch.rand(2, 20)
    clean, trained = (Normal(mean, variance.sqrt()) for mean, variance in zip(means, variances))
    yield (divergence(means[0], variances[0], means[1], variances[1]),
           kl_divergence(clean, trained))


@compare("defense", "clp", "which channels of a counter are pruned at u = 1 (0 or 1 each)",
         "rkteddy/channel-Lipschitzness-based-pruning")
def clp(clone: Clone) -> Pairs:
    from defenses.parts.lipschitz import bounds
    from defenses.parts.pruning import outliers

    counter = random_counter()
    ours = outliers(bounds(counter), 1.0)
    pruned = counter.copy()
    clone.load("defense.py", print=print_nothing).CLP(pruned, 1.0)
    for layer, channels in ours.items():
        before, after = (network.get_submodule(layer.norm).weight for network in (counter, pruned))
        yield channels.float(), ((before != 0) & (after == 0)).float()


@compare("defense", "anp", "loss of a counter with given masks and perturbations, and its gradient "
         "in the masks; our loss in both", "csdongxian/ANP_backdoor")
def anp(clone: Clone) -> Pairs:
    from defenses.parts.neurons import Neurons

    counter = random_counter().requires_grad_(False)
    batch = random_batch()
    neurons = Neurons(counter)
    masks = [torch.rand(size, requires_grad=True) for size in neurons.sizes]
    shifts = [torch.rand(size) * 0.8 - 0.4 for size in [*neurons.sizes, *neurons.sizes]]
    factors = [*masks, *(torch.ones(size) for size in neurons.sizes)]
    ours = neurons.loss(batch, list(map(torch.add, factors, shifts)))
    noisy = counter.copy()
    public = clone.load("models/anp_batchnorm.py", Parameter=nn.Parameter, init=nn.init)
    names = [layer.norm for layer in neurons.layers]
    weights, biases = shifts[: len(masks)], shifts[len(masks) :]
    norms = [put_noisy_norm(noisy, name, public.NoisyBatchNorm2d, mask.detach(), weight, bias)
             for name, mask, weight, bias in zip(names, masks, weights, biases)]
    original = Neurons(noisy)(batch)
    yield ours[None], original[None]
    theirs = torch.autograd.grad(original, [norm.neuron_mask for norm in norms])
    yield from zip(torch.autograd.grad(ours, masks), theirs)


@torch.no_grad()
def put_noisy_norm(counter: Counter, name: str, kind: type[nn.Module], mask: Tensor,
                   weight: Tensor, bias: Tensor) -> nn.Module:
    """Put a public BatchNorm with a mask and perturbations in the place of one of a counter."""
    norm = counter.get_submodule(name)
    noisy = kind(norm.num_features, norm.eps).eval()
    noisy.load_state_dict(norm.state_dict(), strict=False)
    noisy.neuron_mask.copy_(mask)
    noisy.neuron_noise.copy_(weight)
    noisy.neuron_noise_bias.copy_(bias)
    noisy.include_noise()
    put_module(counter, name, noisy)
    return noisy


def put_module(counter: Counter, name: str, module: nn.Module) -> None:
    """Put a module in the place of one of a counter."""
    parent, _, last = name.rpartition(".")
    setattr(counter.get_submodule(parent), last, module)


class Loader(list):
    """Batches that public code takes for those of a dataset of two images."""

    dataset = range(2)


@compare("defense", "rnp", "change of all weights by a step of unlearning, with images without "
         "heads; loss of a counter with given masks in training, and its gradient in the masks; "
         "our loss in all", "bboylyg/RNP")
def rnp(clone: Clone) -> Pairs:
    from defenses.parts.neurons import Neurons
    from defenses.rnp import RNP

    batch, start = random_batch(heads=0), random_counter().train()
    trainer = SimpleNamespace(device=torch.device("cpu"), autocast=nullcontext,
                              batches=lambda *_, **__: [batch],
                              per_image=lambda *_: torch.zeros(1))
    ours, original = start.copy(), start.copy()
    RNP().unlearn(ours, SimpleNamespace(trainer=trainer, clean=[]))
    public = clone.load("main.py", "train_step_unlearning", device="cpu")
    labels = torch.zeros(2, SIDE // 8, SIDE // 8)
    optimizer = torch.optim.SGD(original.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    public.train_step_unlearning(
        None, original, lambda density, _: density.square().sum(dim=(1, 2, 3)).log1p().mean(),
        optimizer, Loader([(batch.images, labels)]))
    for before, *after in zip(*(counter.parameters() for counter in (start, ours, original))):
        yield after[0] - before, after[1] - before

    batch, neurons, masked = random_batch(), Neurons(start.requires_grad_(False)), start.copy()
    public = clone.load("models/mask_batchnorm.py", Parameter=nn.Parameter, init=nn.init)
    masks, norms = [], []
    for layer in neurons.layers:
        norm = start.get_submodule(layer.norm)
        norms.append(public.MaskBatchNorm2d(norm.num_features, norm.eps))
        norms[-1].load_state_dict(norm.state_dict(), strict=False)
        masks.append(torch.rand(norm.num_features, requires_grad=True))
        norms[-1].neuron_mask.data.copy_(masks[-1].detach())
        put_module(masked, layer.norm, norms[-1])
    loss, expected = neurons.train().loss(batch, masks), Neurons(masked).train()(batch)
    yield loss[None], expected[None]
    theirs = torch.autograd.grad(expected, [norm.neuron_mask for norm in norms])
    yield from zip(torch.autograd.grad(loss, masks), theirs)


@compare("defense", "npd", "perturbations of images of 32 x 32 pixels, projected to a length of 3",
         "SCLBD/BackdoorBench")
def npd(clone: Clone) -> Pairs:
    from defenses.npd import projected

    changes = torch.randn(4, 3, 32, 32) * torch.tensor([0.01, 0.05, 0.1, 1])[:, None, None, None]
    public = clone.load("defense/npd.py", "NPD", defense=object)
    options = SimpleNamespace(norm_type="L2", trigger_norm=3.0)
    original = public.NPD.projection(None, changes.clone(), options)
    yield projected(changes, 3 / (3 * 32 * 32) ** 0.5), original


@compare("defense", "ft_sam", "gradient of the loss at the neighbouring weights, of all weights",
         "SCLBD/BackdoorBench")
def ft_sam(clone: Clone) -> Pairs:
    from defenses.ft_sam import worst_nearby

    counter, batch = random_counter().requires_grad_(), random_batch()
    worst_nearby(counter, batch, RHO).mean().backward()
    moved = counter.copy()
    moved.zero_grad()
    sam = clone.load("utils/defense_utils/sam/sam.py", "SAM", ReduceOp=torch.distributed.ReduceOp)
    optimizer = sam.SAM(moved.parameters(), torch.optim.SGD(moved.parameters(), lr=1), moved, 0,
                        SimpleNamespace(step=lambda: RHO), adaptive=True)
    moved.loss(batch).mean().backward()
    optimizer.perturb_weights(rho=RHO)
    moved.zero_grad()
    moved.loss(batch).mean().backward()
    for ours, original in zip(counter.parameters(), moved.parameters()):
        yield ours.grad, original.grad


@compare("defense", "spectral", "scores of 60 random features, from the eigenvectors of their "
         "covariance", original="Tran et al., NeurIPS 2018, algorithm 1")
def spectral() -> Pairs:
    from defenses.spectral import spectral as scores

    features = random_features()
    main = np.linalg.eigh(np.cov(features.T))[1][:, -1]  # eigenvalues ascend
    original = (features - features.mean(axis=0)) @ main
    yield torch.from_numpy(scores(features)), torch.from_numpy(original**2)


@compare("defense", "spectre", "scores of 60 random features after whitening by 48 of them, and "
         "what remains of their excess, by scipy's functions of matrices",
         original="Hayase et al., ICML 2021")
def spectre() -> Pairs:
    from scipy.linalg import expm, fractional_matrix_power

    from defenses.spectre import que

    features = random_features(channels=5)
    points = features - features.mean(axis=0)
    usual = np.arange(60) >= 12
    white = points @ fractional_matrix_power(np.cov(points[usual].T, bias=True), -0.5)
    covariance = np.cov(white.T, bias=True)
    excess = covariance - np.eye(5)
    matrix = expm(4 * excess / (np.linalg.norm(covariance, 2) - 1))
    scores, left = que(points, usual, 4.0)
    yield (torch.from_numpy(scores),
           torch.from_numpy(np.diag(white @ matrix @ white.T) / np.trace(matrix)))
    original = np.trace(covariance @ matrix) / np.trace(matrix)
    yield torch.tensor([left], dtype=torch.float64), torch.tensor([original], dtype=torch.float64)


@compare("defense", "median_smoothing", "ranks of the counts that bound the median, for four "
         "numbers of copies, radii and confidences", "Ping-C/CertifiedObjectDetection")
def median_smoothing(clone: Clone) -> Pairs:
    from scipy import stats

    from defenses.median_smoothing import certificate

    public = clone.load("utils/utils.py", "estimated_qu_ql", stats=stats)
    for copies, epsilon, confidence in ((2000, 0.36, 0.99999), (51, 0.1, 0.95), (200, 0.25, 0.99),
                                        (501, 0.05, 0.9)):
        bounds = certificate(torch.arange(1.0, copies + 1), 0.25, epsilon, confidence)
        original = public.estimated_qu_ql(epsilon, copies, 0.25, confidence)
        yield torch.stack(bounds), torch.tensor([float(rank) for rank in original[::-1]])


@compare("defense", "activation_clustering", "magnitudes of the principal components of 60 random "
         "features, and which of them are in the smaller cluster (0 or 1 each)",
         "SCLBD/BackdoorBench")
def activation_clustering(clone: Clone) -> Pairs:
    from sklearn.cluster import KMeans

    from defenses.activation_clustering import components, signed_silhouettes

    features = random_features()
    public = clone.load("defense/ac.py", "cluster_activations", "reduce_dimensionality",
                        KMeans=lambda n_clusters: KMeans(n_clusters, random_state=0))
    reduced = public.reduce_dimensionality(features, 10, "PCA")
    yield torch.from_numpy(components(features, 10)).abs(), torch.from_numpy(reduced).abs()
    clusters = public.cluster_activations([reduced])[0][0]
    smaller = clusters == np.bincount(clusters).argmin()
    silhouettes = torch.from_numpy(signed_silhouettes(features, 10))
    yield (silhouettes > 0).float(), torch.from_numpy(smaller).float()


@compare("defense", "shrink_pad", "pixels of a square image in 0..1, at the one of all places that "
         "fits ours best", "THUYimingLi/BackdoorBox")
def shrink_pad(clone: Clone) -> Pairs:
    from torchvision import transforms

    images, pixels = torch.rand(1, 3, SIDE, SIDE), SIDE // 8
    public = clone.load("core/defenses/ShrinkPad.py", "RandomPad", "build_ShrinkPad",
                        transforms=transforms)
    shrink, place = public.build_ShrinkPad(SIDE, pixels).transforms
    ours = build("defense", "shrink_pad", {"shrink": 0.125}).change(images)
    places = [pad(shrink(images)) for pad in place.transforms]
    yield ours, min(places, key=lambda padded: float((padded - ours).abs().max()))


@compare("defense", "abl", "change of all weights by a step of local gradient ascent, with a "
         "loss above and one below gamma; images without heads, so that no count divides the loss",
         "bboylyg/ABL")
def abl(clone: Clone) -> Pairs:
    from defenses.abl import local_ascent

    public = clone.load("utils/util.py", "AverageMeter")
    steps = clone.load("backdoor_isolation.py", "train_step", AverageMeter=public.AverageMeter,
                       accuracy=lambda *_, **__: [torch.zeros(1)] * 2)
    batch = random_batch(heads=0)
    start = random_counter().train()
    for share in (0.5, 2.0):
        ours, original = start.copy(), start.copy()
        gamma = share * float(start.copy().loss(batch).mean())
        optimizers = [torch.optim.SGD(counter.parameters(), lr=1) for counter in (ours, original)]
        local_ascent(gamma)(ours, batch).mean().backward()
        optimizers[0].step()
        options = SimpleNamespace(cuda=False, gradient_ascent_type="LGA", gamma=gamma, print_freq=9)
        steps.train_step(options, [(batch.images, None)], original, optimizers[1],
                         lambda density, _: density.square().sum(dim=(1, 2, 3)).mean(), 0)
        for before, *after in zip(*(counter.parameters() for counter in (start, ours, original))):
            yield after[0] - before, after[1] - before

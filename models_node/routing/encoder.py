"""Text to features: tokens, embeddings of the packaged vocabulary, and the graph's pooled hidden states."""

from __future__ import annotations

import numpy as np
import onnxruntime
from sentencepiece import SentencePieceProcessor
from sentencepiece.sentencepiece_model_pb2 import ModelProto, TrainerSpec

from models_node.errors import RouterUnavailable
from models_node.routing.graph import INPUT, OUTPUT, serialised_graph
from models_node.routing.meaning import Limits
from models_node.routing.packaged import Floats, PackagedEncoder, Vocabulary, dequantised, packaged_file, read_packaged

# What the model was trained to see before a question.
PREFIX = "query: "
TAPS = (4, 6, 8)
# Part of a cut text's tokens that is its end: people put the question first or last.
END_SHARE = 0.25
# More characters than tokens ever need; longer texts are cut before they are tokenized.
CHARACTERS_PER_TOKEN = 12


class E5Encoder:
    """The lower layers of multilingual-e5-small, in 8 bits. `features` may be called from one thread at a time."""

    def __init__(self, packaged: PackagedEncoder, limits: Limits) -> None:
        self._limits = limits
        vocabulary = packaged.vocabulary
        self._normalised = vocabulary.normaliser
        self._marks = vocabulary.begin, vocabulary.end
        self._tokenizer = SentencePieceProcessor(model_proto=sentencepiece_model(vocabulary))
        sizes = packaged.dimensions
        self._hidden = sizes.hidden
        self._words = packaged.blocks("emb.word", sizes.vocabulary, sizes.hidden)
        positions = packaged.vector("emb.pos").reshape(sizes.positions, sizes.hidden)
        kinds = packaged.vector("emb.type").reshape(sizes.token_types, sizes.hidden)
        self._places = positions[: limits.tokens] + kinds[0]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = limits.threads
        options.inter_op_num_threads = 1
        # Threads that wait must not spin: the cores are the models'.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = serialised_graph(packaged, TAPS)
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    @property
    def name(self) -> str:
        taps = ",".join(map(str, TAPS))
        return f"multilingual-e5-small q4->int8 layers {taps} mean+std, {self._limits.tokens} tokens"

    def features(self, text: str) -> Floats:
        ids = self.tokens(text)
        summed = dequantised(self._words[ids]).reshape(len(ids), self._hidden) + self._places[: len(ids)]
        (features,) = self._session.run([OUTPUT], {INPUT: summed[None]})
        return np.asarray(features[0], dtype=np.float32)

    def tokens(self, text: str) -> list[int]:
        """Ids with their begin and end marks, at most `limits.tokens`."""
        room = self._limits.tokens - 2
        # JSON can carry half a pair of surrogates, which is no character.
        clipped = both_ends(text, room * CHARACTERS_PER_TOKEN).encode(errors="replace").decode()
        ids: list[int] = self._tokenizer.encode(self._normalised(PREFIX + clipped))
        begin, end = self._marks
        return [begin, *cut(ids, room), end]


def both_ends(text: str, most: int) -> str:
    """The text, or its beginning and its end when it is longer than `most` characters."""
    if len(text) <= most:
        return text
    end = int(most * END_SHARE)
    return f"{text[: most - end]} {text[-end:]}"


def cut(ids: list[int], most: int) -> list[int]:
    """The tokens, or the first and the last of them when there are more than `most`."""
    if len(ids) <= most:
        return ids
    end = int(most * END_SHARE)
    return ids[: most - end] + ids[-end:]


def sentencepiece_model(vocabulary: Vocabulary) -> bytes:
    """The vocabulary as SentencePiece loads it. The text is normalised before it gets there."""
    model = ModelProto()
    model.trainer_spec.model_type = TrainerSpec.UNIGRAM
    model.trainer_spec.vocab_size = len(vocabulary.pieces)
    model.trainer_spec.bos_id, model.trainer_spec.eos_id = vocabulary.begin, vocabulary.end
    model.trainer_spec.pad_id, model.trainer_spec.unk_id = vocabulary.padding, vocabulary.unknown
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.remove_extra_whitespaces = False
    kinds = dict.fromkeys((vocabulary.begin, vocabulary.end, vocabulary.padding), ModelProto.SentencePiece.CONTROL)
    kinds[vocabulary.unknown] = ModelProto.SentencePiece.UNKNOWN
    for number, (piece, score) in enumerate(zip(vocabulary.pieces, vocabulary.scores, strict=True)):
        kind = kinds.get(number, ModelProto.SentencePiece.NORMAL)
        model.pieces.add(piece=piece, score=score, type=kind)
    return bytes(model.SerializeToString())


def load_encoder(limits: Limits) -> E5Encoder:
    """The packaged encoder; takes some two seconds. Raises RouterUnavailable."""
    try:
        return E5Encoder(read_packaged(packaged_file()), limits)
    except RouterUnavailable:
        raise
    except Exception as error:  # whatever ONNX Runtime or the tokenizer raise: the router goes on without meaning
        raise RouterUnavailable(f"the encoder cannot be loaded: {error}") from error

// Views on a CPU, one at a time so that a view stays in the cache: crop, colour, blur, normalisation.
//
// The same formulas as geometry.py and colour.py, which say what they mean and where they come from.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

// Columns of the table that tells how each view looks (native.py writes it). After them come, where something is
// said of single channels, the brightness of each, the contrast of each, and whether each is dropped.
enum { FACTORS = 0, ORDER = 4, JITTERED = 8, GREY, SIGMA, SOLARIZED, COLUMNS };
constexpr int MOST_CHANNELS = 16;
enum { BRIGHTNESS, CONTRAST, SATURATION, HUE };

inline float clamp(float x) { return std::min(std::max(x, 0.0f), 1.0f); }

inline float luma(float r, float g, float b) { return 0.2989f * r + 0.587f * g + 0.114f * b; }

struct Scratch {
  std::vector<float> view, rows, line, down, across;
};

// ---- where: an antialiased triangle along each axis -------------------------------------------------

// `count` taps for each of `size` outputs: weight[k * size + i] belongs to pixel first[i] + k.
struct Taps {
  int count;
  std::vector<int> first;
  std::vector<float> weight;

  Taps(int64_t start, int64_t length, int64_t size, bool mirror) : first(size) {
    const float step = float(length) / float(size), support = std::max(step, 1.0f);
    count = int(std::min<int64_t>(length, int64_t(2 * support) + 1));
    weight.assign(size_t(count) * size, 0.0f);
    for (int64_t i = 0; i < size; i++) {
      const float centre = (float(i) + 0.5f) * step;
      const int64_t low = int64_t(std::ceil(centre - support - 0.5f));
      const int64_t begin = std::min(std::max<int64_t>(low, 0), length - count);
      const int64_t at = mirror ? size - 1 - i : i;
      float sum = 0;
      for (int k = 0; k < count; k++) {
        const float distance = std::fabs(float(begin + k) + 0.5f - centre);
        sum += weight[k * size + at] = std::max(0.0f, 1.0f - distance / support);
      }
      for (int k = 0; k < count; k++) weight[k * size + at] /= sum;
      first[at] = int(start + begin);
    }
  }
};

struct Image {
  int64_t channel, row, column;  // strides: planar (column 1) or interleaved (channel 1, column `channels`)
  int64_t channels, height, width;
};

template <typename Pixel>
void crop(const Pixel* image, const Image& layout, const int64_t* box, const Taps& down, const Taps& across,
          float* view, Scratch& scratch) {
  const int64_t height = int64_t(down.first.size()), width = int64_t(across.first.size());
  const bool interleaved = layout.column != 1;
  const int64_t planes = interleaved ? 1 : layout.channels, per_pixel = layout.channels / planes;
  const int64_t length = box[3] * per_pixel;
  scratch.rows.resize(length);
  float* __restrict line = scratch.rows.data();
  for (int64_t plane = 0; plane < planes; plane++) {
    const Pixel* source = image + plane * layout.channel + box[1] * layout.column;
    for (int64_t y = 0; y < height; y++) {
      for (int k = 0; k < down.count; k++) {
        const Pixel* __restrict row = source + (down.first[y] + k) * layout.row;
        const float weight = down.weight[k * height + y] / 255.0f;
        if (k == 0)
          for (int64_t x = 0; x < length; x++) line[x] = weight * float(row[x]);
        else if (weight != 0)
          for (int64_t x = 0; x < length; x++) line[x] += weight * float(row[x]);
      }
      for (int64_t c = 0; c < per_pixel; c++) {
        float* __restrict out = view + ((plane + c) * height + y) * width;
        const float* from = line + c;
        const int* __restrict first = across.first.data();
        const int begin = int(box[1]);
        for (int k = 0; k < across.count; k++) {
          const float* __restrict weight = across.weight.data() + k * width;
          if (k == 0)
            for (int64_t x = 0; x < width; x++) out[x] = weight[x] * from[(first[x] - begin) * per_pixel];
          else
            for (int64_t x = 0; x < width; x++) out[x] += weight[x] * from[(first[x] - begin + k) * per_pixel];
        }
      }
    }
  }
}

template <typename Pixel>
void copy(const Pixel* image, const Image& layout, float* view) {
  for (int64_t c = 0; c < layout.channels; c++)
    for (int64_t y = 0; y < layout.height; y++) {
      const Pixel* __restrict row = image + c * layout.channel + y * layout.row;
      float* __restrict out = view + (c * layout.height + y) * layout.width;
      const auto line = [&](int64_t step) {  // a step that the compiler knows makes vectors
        for (int64_t x = 0; x < layout.width; x++) out[x] = float(row[step * x]) * (1.0f / 255.0f);
      };
      layout.column == 1 ? line(1) : layout.column == 3 ? line(3) : line(layout.column);
    }
}

// ---- how: the operations of colour.py, in place on n pixels ------------------------------------------

void adjust(float* __restrict values, int64_t n, float factor, float blend) {
  for (int64_t i = 0; i < n; i++) values[i] = clamp(factor * values[i] + blend);
}

double sum_luma(const float* __restrict r, const float* __restrict g, const float* __restrict b, int64_t n) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += 256) {
    float lanes[16] = {};
    const int64_t end = std::min(begin + 256, n);
    int64_t i = begin;
    for (; i + 16 <= end; i += 16)
      for (int k = 0; k < 16; k++) lanes[k] += luma(r[i + k], g[i + k], b[i + k]);
    for (; i < end; i++) lanes[0] += luma(r[i], g[i], b[i]);
    for (float lane : lanes) total += lane;
  }
  return total;
}

double sum(const float* values, int64_t n) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += 256) {
    float lanes[16] = {};
    const int64_t end = std::min(begin + 256, n);
    for (int64_t i = begin; i < end; i += 16)
      for (int64_t k = i; k < std::min(i + 16, end); k++) lanes[k - i] += values[k];
    for (float lane : lanes) total += lane;
  }
  return total;
}

void saturation(float* __restrict r, float* __restrict g, float* __restrict b, int64_t n, float factor) {
  for (int64_t i = 0; i < n; i++) {
    const float blend = (1 - factor) * luma(r[i], g[i], b[i]);
    r[i] = clamp(factor * r[i] + blend);
    g[i] = clamp(factor * g[i] + blend);
    b[i] = clamp(factor * b[i] + blend);
  }
}

inline float hued(float value, float chroma, float k) {
  k -= 6 * std::floor(k * (1.0f / 6.0f));
  return value - chroma * clamp(std::min(k, 4 - k));
}

void hue(float* __restrict r, float* __restrict g, float* __restrict b, int64_t n, float shift) {
  for (int64_t i = 0; i < n; i++) {
    const float value = std::max(r[i], std::max(g[i], b[i])), low = std::min(r[i], std::min(g[i], b[i]));
    const float chroma = value - low, safe = chroma == 0 ? 1.0f : chroma;
    const bool red = r[i] == value, green = g[i] == value;
    const float rise = red ? g[i] - b[i] : green ? b[i] - r[i] : r[i] - g[i];
    const float sector = red ? 0.0f : green ? 2.0f : 4.0f;
    const float turned = rise / safe + sector + 6 * shift;
    r[i] = hued(value, chroma, 5 + turned);
    g[i] = hued(value, chroma, 3 + turned);
    b[i] = hued(value, chroma, 1 + turned);
  }
}

void grey(float* __restrict r, float* __restrict g, float* __restrict b, int64_t n) {
  for (int64_t i = 0; i < n; i++) r[i] = g[i] = b[i] = luma(r[i], g[i], b[i]);
}

inline void add_pair(float* __restrict out, const float* __restrict one, const float* __restrict other,
                     float weight, int64_t n) {
  for (int64_t x = 0; x < n; x++) out[x] += weight * (one[x] + other[x]);
}

// Half a Gaussian, the middle first, cut at three sigmas or where a side of this length is mirrored twice.
void kernel(std::vector<float>& weights, int64_t length, float sigma) {
  const int64_t radius = std::min<int64_t>(length - 1, int64_t(std::ceil(3 * sigma)));
  weights.resize(radius + 1);
  double sum = 0;
  for (int64_t k = 0; k <= radius; k++) {
    weights[k] = std::exp(-0.5f * (float(k) / sigma) * (float(k) / sigma));
    sum += (k ? 2 : 1) * double(weights[k]);
  }
  for (float& weight : weights) weight = float(weight / sum);
}

void blur(float* view, int64_t channels, int64_t height, int64_t width, float sigma, Scratch& scratch) {
  kernel(scratch.down, height, sigma);
  kernel(scratch.across, width, sigma);
  const float *down = scratch.down.data(), *across = scratch.across.data();
  const int64_t far = int64_t(scratch.down.size()) - 1, radius = int64_t(scratch.across.size()) - 1;
  const auto reflected = [](int64_t i, int64_t length) {
    return i < 0 ? -i : i >= length ? 2 * (length - 1) - i : i;
  };
  scratch.rows.resize(height * width);
  scratch.line.resize(width + 2 * radius);
  float *rows = scratch.rows.data(), *line = scratch.line.data();
  for (int64_t c = 0; c < channels; c++) {
    float* plane = view + c * height * width;
    for (int64_t y = 0; y < height; y++) {
      float* out = rows + y * width;
      for (int64_t x = 0; x < width; x++) out[x] = down[0] * plane[y * width + x];
      for (int64_t k = 1; k <= far; k++)
        add_pair(out, plane + reflected(y - k, height) * width, plane + reflected(y + k, height) * width,
                 down[k], width);
    }
    for (int64_t y = 0; y < height; y++) {
      const float* row = rows + y * width;
      for (int64_t x = -radius; x < 0; x++) line[x + radius] = row[reflected(x, width)];
      std::copy(row, row + width, line + radius);
      for (int64_t x = width; x < width + radius; x++) line[x + radius] = row[reflected(x, width)];
      float* out = plane + y * width;
      for (int64_t x = 0; x < width; x++) out[x] = across[0] * row[x];
      for (int64_t k = 1; k <= radius; k++)
        add_pair(out, line + radius - k, line + radius + k, across[k], width);
    }
  }
}

// Jitter and grey, in pieces that stay in the nearest cache; contrast has to wait for the mean of them all.
void colour(float* view, int64_t n, const float* look) {
  constexpr int64_t PIECE = 2048;
  const float* order = look + ORDER;
  const int slots = look[JITTERED] != 0 ? 4 : 0;
  int mixed = 0;  // the slot of contrast
  while (mixed < slots && order[mixed] != CONTRAST) mixed++;
  const bool contrasted = mixed < slots && look[FACTORS + CONTRAST] != 1;
  double brightness = 0;
  const auto pass = [&](int from, int to, bool last) {
    const float blend = (1 - look[FACTORS + CONTRAST]) * float(brightness / double(n));
    for (int64_t begin = 0; begin < n; begin += PIECE) {
      const int64_t m = std::min(PIECE, n - begin);
      float *r = view + begin, *g = r + n, *b = g + n;
      for (int slot = from; slot < to; slot++) {
        const int operation = int(order[slot]);
        const float factor = look[FACTORS + operation];
        if (operation == SATURATION && factor != 1) saturation(r, g, b, m, factor);
        if (operation == HUE && factor != 0) hue(r, g, b, m, factor);
        if ((operation == BRIGHTNESS || operation == CONTRAST) && factor != 1)
          for (float* plane : {r, g, b}) adjust(plane, m, factor, operation == CONTRAST ? blend : 0);
      }
      if (!last) brightness += sum_luma(r, g, b, m);
      if (last && look[GREY] != 0) grey(r, g, b, m);
    }
  };
  if (contrasted) pass(0, mixed, false);
  if (slots || look[GREY] != 0) pass(contrasted ? mixed : 0, slots, true);
}

// Brightness and contrast of a channel that is not a colour.
void jitter(float* plane, int64_t n, float brightness, float contrast, bool contrast_first) {
  const auto dim = [=] {
    if (brightness != 1) adjust(plane, n, brightness, 0);
  };
  if (!contrast_first) dim();
  if (contrast != 1) {
    adjust(plane, n, contrast, (1 - contrast) * float(sum(plane, n) / double(n)));
  }
  if (contrast_first) dim();
}

void solarize(float* values, int64_t n) {
  for (int64_t i = 0; i < n; i++) values[i] = values[i] >= 0.5f ? 1 - values[i] : values[i];
}

// ---- noise: the hash of draws.py, in pairs by Box and Muller ----------------------------------------

inline float uniform(uint32_t key, uint32_t number) {
  uint32_t word = key + number * 0x9E3779B9u + 0x7F4A7C15u;
  word = (word ^ (word >> 16)) * 0x7FEB352Du;
  word = (word ^ (word >> 15)) * 0x846CA68Bu;
  return float((word ^ (word >> 16)) >> 8) * 0x1p-24f;
}

void add_noise(float* values, int64_t n, uint32_t key, uint32_t first, float deviation) {
  const int64_t pairs = (n + 1) / 2;
  for (int64_t i = 0; i < pairs; i++) {
    const float one = uniform(key, first + uint32_t(i)), other = uniform(key, first + uint32_t(pairs + i));
    const float radius = deviation * std::sqrt(-2 * std::log(1 - one)), angle = float(2 * M_PI) * other;
    values[i] = clamp(values[i] + radius * std::cos(angle));
    if (pairs + i < n) values[pairs + i] = clamp(values[pairs + i] + radius * std::sin(angle));
  }
}

// Planes to interleaved values, normalised; a scale of 0 makes a channel its mean.
template <int C>
void finish(const float* __restrict view, int64_t n, bool solarized, const float* mean, const float* scale,
            float* __restrict out) {
  float m[C], s[C];
  for (int c = 0; c < C; c++) m[c] = mean[c], s[c] = scale[c];
  const float turn = solarized ? 0.5f : 2.0f;
  for (int64_t i = 0; i < n; i++)
    for (int c = 0; c < C; c++) {
      const float value = view[c * n + i];
      out[C * i + c] = ((value >= turn ? 1 - value : value) - m[c]) * s[c];
    }
}

using Finish = void (*)(const float*, int64_t, bool, const float*, const float*, float*);
template <int... C>
Finish finish_for(int64_t channels, std::integer_sequence<int, C...>) {
  constexpr Finish all[] = {finish<C + 1>...};
  return all[channels - 1];
}

struct Batch {
  int64_t samples, stride, height, width, colours, columns;
  Image layout;
  const int64_t* boxes;  // null where the images are the crops
  const uint8_t* mirrored;
  const float *looks, *mean, *scale;
  const int64_t* keys;  // null without noise
  int64_t first;
  float deviation;
  float* out;
};

template <typename Pixel>
void work(const Pixel* images, const Batch& batch, std::atomic<int64_t>& next) {
  constexpr int64_t AT_ONCE = 4;
  const Image& layout = batch.layout;
  Scratch scratch;
  const int64_t n = batch.height * batch.width, channels = layout.channels;
  Image part = layout;
  if (!batch.colours && layout.column == 1) part.channels = 1;
  const auto of_one = [](float operation) { return operation == BRIGHTNESS || operation == CONTRAST; };
  const Finish finished = finish_for(channels, std::make_integer_sequence<int, MOST_CHANNELS>());
  scratch.view.resize(channels * n);
  float *view = scratch.view.data(), scale[MOST_CHANNELS];
  for (;;) {
    const int64_t begin = next.fetch_add(AT_ONCE), end = std::min(begin + AT_ONCE, batch.samples);
    if (begin >= end) return;
    for (int64_t i = begin; i < end; i++) {
      const int64_t* box = batch.boxes ? batch.boxes + 4 * i : nullptr;
      std::optional<Taps> down, across;
      if (box) down.emplace(box[0], box[2], batch.height, false);
      if (box) across.emplace(box[1], box[3], batch.width, batch.mirrored[i] != 0);
      const float* look = batch.looks + batch.columns * i;
      const float* own = batch.columns > COLUMNS ? look + COLUMNS : nullptr;
      bool solarized = look[SOLARIZED] != 0;
      // Channels that nothing mixes are made one after the other, each in the cache.
      for (int64_t c = 0; c < channels; c += part.channels) {
        const Pixel* image = images + i * batch.stride + c * layout.channel;
        float* planes = view + c * n;
        if (box)
          crop(image, part, box, *down, *across, planes, scratch);
        else
          copy(image, part, planes);
        if (batch.colours)
          colour(planes, n, look);
        else if (own && look[JITTERED] != 0) {
          const bool contrast_first = *std::find_if(look + ORDER, look + JITTERED, of_one) == CONTRAST;
          for (int64_t k = c; k < c + part.channels; k++)
            jitter(view + k * n, n, own[k], own[channels + k], contrast_first);
        }
        if (look[SIGMA] > 0) blur(planes, part.channels, batch.height, batch.width, look[SIGMA], scratch);
      }
      if (batch.keys) {
        if (solarized) solarize(view, channels * n);
        solarized = false;
        add_noise(view, channels * n, uint32_t(batch.keys[i]), uint32_t(batch.first), batch.deviation);
      }
      for (int64_t c = 0; c < channels; c++)
        scale[c] = own && own[2 * channels + c] != 0 ? 0 : batch.scale[c];
      finished(view, n, solarized, batch.mean, scale, batch.out + channels * n * i);
    }
  }
}

template <typename Pixel>
void run(const void* images, const Batch& batch, int64_t threads) {
  std::atomic<int64_t> next{0};
  const auto job = [&] { work(static_cast<const Pixel*>(images), batch, next); };
  std::vector<std::thread> others;
  // Threads live for one call: a pool would not survive the fork of a DataLoader's workers.
  try {
    for (int64_t i = 1; i < std::min(threads, (batch.samples + 3) / 4); i++) others.emplace_back(job);
  } catch (const std::system_error&) {  // as many as there may be
  }
  job();
  for (auto& thread : others) thread.join();
}

// Pixels of interleaved channels to planes, for mirroring by way of a line: both copies then go in vectors.
void split(const uint8_t* __restrict image, int64_t step, int64_t channels, int64_t height, int64_t width,
           bool mirrored, uint8_t* planes) {
  std::vector<uint8_t> forward(width);
  for (int64_t y = 0; y < height; y++)
    for (int64_t c = 0; c < channels; c++) {
      const uint8_t* __restrict row = image + y * width * step + c;
      uint8_t* out = planes + (c * height + y) * width;
      uint8_t* __restrict line = mirrored ? forward.data() : out;
      const auto taken = [&](int64_t step) {  // a step that the compiler knows makes vectors
        for (int64_t x = 0; x < width; x++) line[x] = row[step * x];
      };
      step == 4 ? taken(4) : step == 3 ? taken(3) : step == 1 ? taken(1) : taken(step);
      if (mirrored) std::reverse_copy(line, line + width, out);
    }
}

}  // namespace

// Views (samples, height, width, channels) float32 of images, uint8 or float32 in [0, 255].
extern "C" void selfsup_views(const void* images, int64_t is_float, const int64_t* shape, const int64_t* strides,
                              const int64_t* boxes, const uint8_t* mirrored, int64_t height, int64_t width,
                              int64_t colours, const float* looks, int64_t columns, const float* mean,
                              const float* scale, const int64_t* keys, int64_t first, double deviation,
                              float* out, int64_t threads) {
  const Image layout{strides[1], strides[2], strides[3], shape[1], shape[2], shape[3]};
  const Batch batch{shape[0], strides[0], height, width, colours, columns, layout, boxes, mirrored,
                    looks, mean, scale, keys, first, float(deviation), out};
  if (is_float)
    run<float>(images, batch, threads);
  else
    run<uint8_t>(images, batch, threads);
}

// Planes (channels, height, width) of an image of `step` interleaved channels, the first of them, mirrored or not.
extern "C" void selfsup_planes(const uint8_t* image, int64_t step, int64_t channels, int64_t height,
                               int64_t width, int64_t mirrored, uint8_t* planes) {
  split(image, step, channels, height, width, mirrored != 0, planes);
}

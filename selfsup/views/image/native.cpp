// Views on a CPU, one at a time so that a view stays in the cache: crop, colour, blur, normalisation.
//
// The same formulas as geometry.py and colour.py, which say what they mean and where they come from.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace {

// Columns of the table that tells how each view looks (native.py writes it).
enum { FACTORS = 0, ORDER = 4, JITTERED = 8, GREY, SIGMA, SOLARIZED, COLUMNS };
enum { BRIGHTNESS, CONTRAST, SATURATION, HUE };

inline float clamp(float x) { return std::min(std::max(x, 0.0f), 1.0f); }

inline float luma(float r, float g, float b) { return 0.2989f * r + 0.587f * g + 0.114f * b; }

struct Scratch {
  std::vector<float> view, rows, line, weights;
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
  int64_t channel, row, column;  // strides: planar (column 1) or interleaved (channel 1, column 3)
  int64_t height, width;
};

template <typename Pixel>
void crop(const Pixel* image, const Image& layout, const int64_t* box, bool mirror, int64_t size, float* view,
          Scratch& scratch) {
  const Taps down(box[0], box[2], size, false), across(box[1], box[3], size, mirror);
  const bool interleaved = layout.column != 1;
  const int planes = interleaved ? 1 : 3;
  const int64_t per_pixel = interleaved ? 3 : 1, length = box[3] * per_pixel;
  scratch.rows.resize(length);
  float* __restrict line = scratch.rows.data();
  for (int plane = 0; plane < planes; plane++) {
    const Pixel* source = image + plane * layout.channel + box[1] * layout.column;
    for (int64_t y = 0; y < size; y++) {
      for (int k = 0; k < down.count; k++) {
        const Pixel* __restrict row = source + (down.first[y] + k) * layout.row;
        const float weight = down.weight[k * size + y] / 255.0f;
        if (k == 0)
          for (int64_t x = 0; x < length; x++) line[x] = weight * float(row[x]);
        else if (weight != 0)
          for (int64_t x = 0; x < length; x++) line[x] += weight * float(row[x]);
      }
      for (int64_t c = 0; c < 3 / planes; c++) {
        float* __restrict out = view + ((plane + c) * size + y) * size;
        const float* from = line + c;
        const int* __restrict first = across.first.data();
        const int begin = int(box[1]);
        for (int k = 0; k < across.count; k++) {
          const float* __restrict weight = across.weight.data() + k * size;
          if (k == 0)
            for (int64_t x = 0; x < size; x++) out[x] = weight[x] * from[(first[x] - begin) * per_pixel];
          else
            for (int64_t x = 0; x < size; x++) out[x] += weight[x] * from[(first[x] - begin + k) * per_pixel];
        }
      }
    }
  }
}

template <typename Pixel>
void copy(const Pixel* image, const Image& layout, float* view) {
  for (int64_t c = 0; c < 3; c++)
    for (int64_t y = 0; y < layout.height; y++) {
      const Pixel* __restrict row = image + c * layout.channel + y * layout.row;
      float* __restrict out = view + (c * layout.height + y) * layout.width;
      if (layout.column == 1)
        for (int64_t x = 0; x < layout.width; x++) out[x] = float(row[x]) * (1.0f / 255.0f);
      else
        for (int64_t x = 0; x < layout.width; x++) out[x] = float(row[3 * x]) * (1.0f / 255.0f);
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

void blur(float* view, int64_t size, float sigma, Scratch& scratch) {
  const int64_t radius = std::min<int64_t>(size - 1, int64_t(std::ceil(3 * sigma)));
  scratch.weights.resize(radius + 1);
  float* weights = scratch.weights.data();
  double sum = 0;
  for (int64_t k = 0; k <= radius; k++) {
    weights[k] = std::exp(-0.5f * (float(k) / sigma) * (float(k) / sigma));
    sum += (k ? 2 : 1) * double(weights[k]);
  }
  for (int64_t k = 0; k <= radius; k++) weights[k] = float(weights[k] / sum);
  const auto reflected = [size](int64_t i) { return i < 0 ? -i : i >= size ? 2 * (size - 1) - i : i; };
  scratch.rows.resize(size * size);
  scratch.line.resize(size + 2 * radius);
  float *rows = scratch.rows.data(), *line = scratch.line.data();
  for (int c = 0; c < 3; c++) {
    float* plane = view + c * size * size;
    for (int64_t y = 0; y < size; y++) {
      float* out = rows + y * size;
      for (int64_t x = 0; x < size; x++) out[x] = weights[0] * plane[y * size + x];
      for (int64_t k = 1; k <= radius; k++)
        add_pair(out, plane + reflected(y - k) * size, plane + reflected(y + k) * size, weights[k], size);
    }
    for (int64_t y = 0; y < size; y++) {
      const float* row = rows + y * size;
      for (int64_t x = -radius; x < 0; x++) line[x + radius] = row[reflected(x)];
      std::copy(row, row + size, line + radius);
      for (int64_t x = size; x < size + radius; x++) line[x + radius] = row[reflected(x)];
      float* out = plane + y * size;
      for (int64_t x = 0; x < size; x++) out[x] = weights[0] * row[x];
      for (int64_t k = 1; k <= radius; k++)
        add_pair(out, line + radius - k, line + radius + k, weights[k], size);
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

void finish(const float* __restrict view, int64_t n, bool solarized, const float* mean, const float* scale,
            float* __restrict out) {
  const float m0 = mean[0], m1 = mean[1], m2 = mean[2], s0 = scale[0], s1 = scale[1], s2 = scale[2];
  const float turn = solarized ? 0.5f : 2.0f;
  for (int64_t i = 0; i < n; i++) {
    const float r = view[i], g = view[n + i], b = view[2 * n + i];
    out[3 * i] = ((r >= turn ? 1 - r : r) - m0) * s0;
    out[3 * i + 1] = ((g >= turn ? 1 - g : g) - m1) * s1;
    out[3 * i + 2] = ((b >= turn ? 1 - b : b) - m2) * s2;
  }
}

struct Batch {
  int64_t samples, stride, size;
  Image layout;
  const int64_t* boxes;  // null where the images are the crops
  const uint8_t* mirrored;
  const float *looks, *mean, *scale;
  float* out;
};

template <typename Pixel>
void work(const Pixel* images, const Batch& batch, std::atomic<int64_t>& next) {
  constexpr int64_t AT_ONCE = 4;
  Scratch scratch;
  const int64_t n = batch.size * batch.size;
  scratch.view.resize(3 * n);
  float* view = scratch.view.data();
  for (;;) {
    const int64_t begin = next.fetch_add(AT_ONCE), end = std::min(begin + AT_ONCE, batch.samples);
    if (begin >= end) return;
    for (int64_t i = begin; i < end; i++) {
      const Pixel* image = images + i * batch.stride;
      if (batch.boxes)
        crop(image, batch.layout, batch.boxes + 4 * i, batch.mirrored[i] != 0, batch.size, view, scratch);
      else
        copy(image, batch.layout, view);
      const float* look = batch.looks + COLUMNS * i;
      colour(view, n, look);
      if (look[SIGMA] > 0) blur(view, batch.size, look[SIGMA], scratch);
      finish(view, n, look[SOLARIZED] != 0, batch.mean, batch.scale, batch.out + 3 * n * i);
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
template <int CHANNELS>
void split(const uint8_t* __restrict image, int64_t height, int64_t width, bool mirrored, uint8_t* planes) {
  std::vector<uint8_t> forward(width);
  for (int64_t y = 0; y < height; y++)
    for (int64_t c = 0; c < 3; c++) {
      const uint8_t* __restrict row = image + y * width * CHANNELS + c;
      uint8_t* out = planes + (c * height + y) * width;
      uint8_t* __restrict line = mirrored ? forward.data() : out;
      for (int64_t x = 0; x < width; x++) line[x] = row[CHANNELS * x];
      if (mirrored) std::reverse_copy(line, line + width, out);
    }
}

}  // namespace

// Views (samples, size, size, 3) float32 of images, uint8 or float32 in [0, 255].
extern "C" void selfsup_views(const void* images, int64_t is_float, const int64_t* shape, const int64_t* strides,
                              const int64_t* boxes, const uint8_t* mirrored, int64_t size, const float* looks,
                              const float* mean, const float* scale, float* out, int64_t threads) {
  const Image layout{strides[1], strides[2], strides[3], shape[2], shape[3]};
  const Batch batch{shape[0], strides[0], size, layout, boxes, mirrored, looks, mean, scale, out};
  if (is_float)
    run<float>(images, batch, threads);
  else
    run<uint8_t>(images, batch, threads);
}

// Planes (3, height, width) of an image of three or four interleaved channels, mirrored or not.
extern "C" void selfsup_planes(const uint8_t* image, int64_t channels, int64_t height, int64_t width,
                               int64_t mirrored, uint8_t* planes) {
  (channels == 4 ? split<4> : split<3>)(image, height, width, mirrored != 0, planes);
}

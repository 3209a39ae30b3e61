// Opens a study in a real OHIF, as a radiologist would, and tells as JSON what is to be seen.
//
//   node look.mjs --orthanc URL --study UID --seg SERIES_UID [--sr SERIES_UID] --pictures DIR
//
// It judges nothing: the test that calls it compares what is seen with what the model found.

import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { startSite } from './site.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const installed = resolve(here, '../../.viewer');
const { chromium } = createRequire(join(installed, 'x.js'))('playwright-core');

const PATIENCE = 60_000;
// The viewer has no event for "drawn"; this is what it took, times three.
const SETTLED = 1500;
const CHROMIUM_FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--use-gl=angle',
  '--use-angle=swiftshader',
  '--enable-unsafe-swiftshader',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const { values: options } = parseArgs({
  options: {
    orthanc: { type: 'string' },
    study: { type: 'string' },
    seg: { type: 'string' },
    sr: { type: 'string' },
    pictures: { type: 'string' },
  },
});

const settle = page => page.waitForTimeout(SETTLED);
const picture = (page, name) => page.screenshot({ path: join(options.pictures, `${name}.png`) });

const openStudy = async (page, url) => {
  // The first visit would be covered by a guided tour.
  await page.addInitScript(() => localStorage.setItem('shownTours', '["basicViewerTour"]'));
  await page.goto(`${url}/viewer?StudyInstanceUIDs=${options.study}`, { waitUntil: 'domcontentloaded' });
  const listed = series => window.services?.displaySetService?.getActiveDisplaySets().some(set => set.SeriesInstanceUID === series);
  await page.waitForFunction(listed, options.seg, { timeout: PATIENCE });
  const drawn = () => [...document.querySelectorAll('canvas.cornerstone-canvas')].some(canvas => canvas.width > 50);
  await page.waitForFunction(drawn, null, { timeout: PATIENCE });
  await settle(page);
};

const openSeries = async (page, series) => {
  const description = await page.evaluate(
    uid => window.services.displaySetService.getActiveDisplaySets().find(set => set.SeriesInstanceUID === uid).SeriesDescription,
    series,
  );
  const entries = page.locator('[data-cy="study-browser-thumbnail-no-image"]');
  await entries.filter({ hasText: description }).first().dblclick({ timeout: PATIENCE });
};

const openSegmentation = async page => {
  await openSeries(page, options.seg);
  const loaded = series => {
    const { displaySetService, segmentationService } = window.services;
    const set = displaySetService.getActiveDisplaySets().find(candidate => candidate.SeriesInstanceUID === series);
    return set?.isLoaded && segmentationService.getSegmentation(set.displaySetInstanceUID) !== undefined;
  };
  await page.waitForFunction(loaded, options.seg, { timeout: PATIENCE });
  await settle(page);
};

// What the viewer has decoded: for each segment its label, its colour, and its voxels on each image.
const decodedSegments = page =>
  page.evaluate(series => {
    const { displaySetService, segmentationService, viewportGridService } = window.services;
    const { cache } = window.cornerstone;
    const set = displaySetService.getActiveDisplaySets().find(candidate => candidate.SeriesInstanceUID === series);
    const segmentation = segmentationService.getSegmentation(set.displaySetInstanceUID);
    const viewport = viewportGridService.getActiveViewportId();
    const counts = {};
    for (const imageId of segmentation.representationData.Labelmap.imageIds) {
      const image = cache.getImage(imageId);
      if (!image) continue;
      const instance = /instances\/([0-9.]+)/.exec(image.referencedImageId)?.[1] ?? image.referencedImageId;
      const frame = /frames\/(\d+)/.exec(image.referencedImageId)?.[1] ?? '1';
      for (const value of image.voxelManager.getScalarData()) {
        if (value === 0) continue;
        const onImages = (counts[value] ??= {});
        const key = `${instance}#${frame}`;
        onImages[key] = (onImages[key] ?? 0) + 1;
      }
    }
    return Object.values(segmentation.segments).map(segment => ({
      number: segment.segmentIndex,
      label: segment.label,
      color: [...segmentationService.getSegmentColor(viewport, segmentation.segmentationId, segment.segmentIndex)],
      voxels_on_images: counts[segment.segmentIndex] ?? {},
    }));
  }, options.seg);

const jumpToFullestSlice = (page, segment) => {
  const [fullest] = Object.entries(segment.voxels_on_images).sort(([, a], [, b]) => b - a)[0];
  const [instance, frame] = fullest.split('#');
  return page.evaluate(
    ([uid, number]) => {
      const { viewportGridService, cornerstoneViewportService } = window.services;
      const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
      const index = viewport.getImageIds().findIndex(id => id.includes(`instances/${uid}`) && id.includes(`frames/${number}`));
      return window.cornerstone.utilities.jumpToSlice(viewport.element, { imageIndex: index });
    },
    [instance, frame],
  );
};

const setOverlay = (page, visible) =>
  page.evaluate(
    ([series, shown]) => {
      const { displaySetService, segmentationService, viewportGridService } = window.services;
      const set = displaySetService.getActiveDisplaySets().find(candidate => candidate.SeriesInstanceUID === series);
      const segmentation = segmentationService.getSegmentation(set.displaySetInstanceUID);
      const viewport = viewportGridService.getActiveViewportId();
      for (const { segmentIndex } of Object.values(segmentation.segments)) {
        segmentationService.setSegmentVisibility(viewport, segmentation.segmentationId, segmentIndex, shown, 'Labelmap');
      }
    },
    [options.seg, visible],
  );

// A grey image has no coloured pixels; the canvas holds image and overlay, nothing else.
const colouredPixels = page =>
  page.evaluate(() => {
    const { viewportGridService, cornerstoneViewportService } = window.services;
    const { canvas } = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let coloured = 0;
    for (let i = 0; i < data.length; i += 4) {
      const channels = [data[i], data[i + 1], data[i + 2]];
      if (Math.max(...channels) - Math.min(...channels) > 40) coloured += 1;
    }
    return coloured;
  });

const lookAtSegments = async page => {
  const segments = await decodedSegments(page);
  for (const segment of segments) {
    if (Object.keys(segment.voxels_on_images).length === 0) continue;
    await jumpToFullestSlice(page, segment);
    await settle(page);
    segment.coloured_pixels_shown = await colouredPixels(page);
    await picture(page, `segment-${segment.number}`);
    await setOverlay(page, false);
    await settle(page);
    segment.coloured_pixels_hidden = await colouredPixels(page);
    await setOverlay(page, true);
    await settle(page);
  }
  return segments;
};

const listedLabels = async page => {
  const panel = page.locator('[data-cy="panelSegmentation-btn"]').first();
  if (await panel.isVisible()) await panel.click();
  await settle(page);
  const rows = await page.locator('[data-cy="data-row"]').allInnerTexts();
  await picture(page, 'labels');
  return rows;
};

const lookAtReport = async page => {
  await openSeries(page, options.sr);
  await settle(page);
  await settle(page);
  const measurements = await page.evaluate(series => {
    const set = window.services.displaySetService.getActiveDisplaySets().find(candidate => candidate.SeriesInstanceUID === series);
    return (set.measurements ?? []).map(measurement => ({
      drawn: measurement.loaded === true,
      texts: (measurement.labels ?? []).map(({ label, value }) => `${label}: ${value}`),
    }));
  }, options.sr);
  await picture(page, 'report');
  const text = await page.innerText('body');
  return { measurements, stopped: text.includes('Something went wrong') };
};

const profile = await mkdtemp(join(tmpdir(), 'overread-viewer-'));
const site = await startSite({ ohif: join(installed, 'ohif/dist'), config: join(here, 'config.js'), orthanc: options.orthanc });
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: '/usr/bin/chromium',
  headless: true,
  viewport: { width: 1400, height: 900 },
  args: CHROMIUM_FLAGS,
});
try {
  const page = browser.pages()[0] ?? (await browser.newPage());
  await openStudy(page, site.url);
  await openSegmentation(page);
  const segments = await lookAtSegments(page);
  const labels = await listedLabels(page);
  const report = options.sr ? await lookAtReport(page) : null;
  console.log(JSON.stringify({ segments, labels, report }));
} finally {
  await browser.close();
  site.stop();
  await rm(profile, { recursive: true, force: true });
}
